/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv6 addresses in the image: prefix tables of 128 bits, and the line of a rule's addresses. Included by classify.h. */
#pragma once

struct prefix6 {
	void *img;
	__u32 table, mask, lens, bit, ref;
	__u64 seed, hi, lo; /* the address, host order */
};

/* The value of a prefix in one bucket. */
static __always_inline __u32 bucket6(void *img, __u32 at, __u64 hi, __u64 lo, __u32 len)
{
	struct bt_bucket6 *b = line(img, at);

	if (!b)
		return 0;
	for (int i = 0; i < 3; i++)
		if (b->keys[i].lo == lo && b->keys[i].hi == hi && b->lens[i] == len)
			return b->values[i];
	return 0;
}

/* From the longest length on: 128 - n. */
static long prefix6_step(__u64 n, struct prefix6 *q)
{
	__u32 len = 128 - (__u32)n, bit = len - 1;
	struct bt_line *lens = line(q->img, q->lens);
	__u64 hi = q->hi, lo = q->lo, h;

	if (!lens)
		return 1;
	if (!(lens->w[masked(bit >> 5, 3)] >> (bit & 31) & 1))
		return 0;
	if (len <= 64) {
		lo = 0;
		hi &= ~0ULL << ((64 - len) & 63);
	} else {
		lo &= ~0ULL << ((128 - len) & 63);
	}
	h = bt_hash(lo ^ bt_hash(hi, BT_KEY6 + len), q->seed);
	q->ref = bucket6(q->img, q->table + ((__u32)h & q->mask), hi, lo, len);
	if (!q->ref)
		q->ref = bucket6(q->img, q->table + ((__u32)(h >> 32) & q->mask), hi, lo, len);
	return q->ref != 0;
}

/* The value of the longest prefix of the packet's source or destination in a PREFIX table, 0 if it has none. `lens`: the line
 * whose bit L - 1 is set where the table has prefixes of length L. */
__noinline int bt_prefix6_ref(__u32 table, __u32 mask, __u64 seed, __u32 lens, __u32 dst)
{
	struct prefix6 q = { .table = table, .mask = mask, .seed = seed, .lens = lens };
	struct bt_pkt *p = pkt();
	bt_addr a;

	if (!p)
		return 0;
	q.img = image(p->slot);
	if (!q.img)
		return 0;
	a = dst ? p->daddr : p->saddr;
	q.hi = (__u64)bpf_ntohl(a.w[0]) << 32 | bpf_ntohl(a.w[1]);
	q.lo = (__u64)bpf_ntohl(a.w[2]) << 32 | bpf_ntohl(a.w[3]);
	bpf_loop(128, prefix6_step, &q, 0);
	return q.ref;
}

/* The ref of a source or destination address in its field's table. */
static __always_inline __u32 addr_ref(struct bt_pkt *p, struct bt_field *f)
{
	return bt_prefix6_ref(f->table, f->mask, f->seed, f->lens, f->what == F_DADDR);
}

/* Whether the record's addresses hold: they stand in a line of their own. */
static __always_inline bool addrs_match(struct bt_pkt *p, void *img, struct bt_rule *r)
{
	__u32 f = r->flags;
	struct bt_addrs6 *a;

	if (!(f & (RF_SADDR | RF_DADDR)))
		return true;
	a = line(img, r->saddr);
	if (!a)
		return false;
	if (f & RF_SADDR && !addr_eq(addr_and(p->saddr, a->smask), a->saddr) != !!(f & RF_INV_SADDR))
		return false;
	return !(f & RF_DADDR && !addr_eq(addr_and(p->daddr, a->dmask), a->daddr) != !!(f & RF_INV_DADDR));
}
