/* SPDX-License-Identifier: GPL-2.0-only */
/* Which rules of a chain may match a packet: what the image's tables say of its addresses, ports, devices and state. They may name too many
 * rules, never too few. */
#pragma once
#include "bt.h"
#include "ct.h"

enum bt_mode { MODE_SCAN, MODE_STREAM, MODE_VEC };

/* A cuckoo table's value of `key`, 0 if it has none. */
static __always_inline __u32 cuckoo(void *img, __u32 table, __u32 mask, __u64 seed, __u64 key)
{
	__u64 h = bt_hash(key, seed);
	struct bt_bucket *b = line(img, table + ((__u32)h & mask));
	if (!b)
		return 0;
	for (int i = 0; i < 5; i++)
		if (b->keys[i] == key && b->values[i])
			return b->values[i];
	b = line(img, table + ((__u32)(h >> 32) & mask));
	if (!b)
		return 0;
	for (int i = 0; i < 5; i++)
		if (b->keys[i] == key && b->values[i])
			return b->values[i];
	return 0;
}

static __always_inline __u32 word(void *img, __u32 table, __u32 at)
{
	struct bt_line *l = line(img, table + at / 16);
	return l ? l->w[masked(at, 15)] : 0;
}

/* The class of an interface name: the exact name, else the longest prefix that some rule names. */
static __noinline __u32 iface_class(void *img, struct bt_header *h, char *name)
{
	__u64 n[2];
	__builtin_memcpy(n, name, 16);
	__u64 lo = bt_hash(n[0], 0x9e3779b97f4a7c15ULL);
	__u32 v = cuckoo(img, h->iface_table, h->iface_mask, h->iface_seed, lo ^ bt_hash(n[1], BT_IFACE_EXACT));
	if (v)
		return v - 1;
	__u32 lens = h->iface_lens;
	for (int len = 15; len > 0; len--) {
		if (!(lens >> len & 1))
			continue;
		__u64 a = len >= 8 ? n[0] : n[0] & ((1ULL << (8 * (len & 7))) - 1);
		__u64 b = len > 8 ? n[1] & ((1ULL << (8 * ((len - 8) & 7))) - 1) : 0;
		v = cuckoo(img, h->iface_table, h->iface_mask, h->iface_seed, bt_hash(a, 0x9e3779b97f4a7c15ULL) ^ bt_hash(b, len));
		if (v)
			return v - 1;
	}
	return 0;
}

/* The class of device `ifindex` in the image this packet reads. Kept in bt_devs for the image's generation. */
__noinline int bt_dev_class(struct __sk_buff *skb, __u32 ifindex)
{
	struct bt_pkt *p = pkt();
	struct bt_dev_info fresh = {}, *d;

	if (!p || !ifindex)
		return 0;
	d = bpf_map_lookup_elem(&bt_devs, &ifindex);
	if (ifindex == skb->ifindex) {
		/* The name may have changed, and nobody tells us. */
		struct sk_buff *k = (struct sk_buff *)skb;
		struct net_device *dev;
		if (bpf_probe_read_kernel(&dev, sizeof(dev), (void *)k + bpf_core_field_offset(struct sk_buff, dev)))
			dev = NULL;
		bpf_probe_read_kernel(fresh.name, sizeof(fresh.name), (void *)dev + bpf_core_field_offset(struct net_device, name));
		/* Behind its end a name may have the rest of an older one. */
		bool ended = false;
		for (int i = 0; i < 16; i++) {
			if (!fresh.name[i])
				ended = true;
			if (ended)
				fresh.name[i] = 0;
		}
		if (!d || __builtin_memcmp(d->name, fresh.name, 16)) {
			fresh.l2len = p->l2len;
			bpf_map_update_elem(&bt_devs, &ifindex, &fresh, BPF_ANY);
			d = bpf_map_lookup_elem(&bt_devs, &ifindex);
		}
	}
	if (!d)
		return 0;
	__u64 class = d->class;
	if (class >> 32 == p->generation && (__u32)class)
		return (__u32)class - 1;
	void *img = image(p->slot);
	if (!img)
		return 0;
	struct bt_header *h = line(img, 0);
	if (!h || !h->iface_table)
		return 0;
	__builtin_memcpy(fresh.name, d->name, 16);
	__u32 v = iface_class(img, h, fresh.name);
	d->class = (__u64)p->generation << 32 | (v + 1);
	return v;
}

/* Where the first rule at or after `pos` stands in the list at line `at`; `count` if none does. */
__noinline int bt_list_seek(__u32 at, __u32 count, __u32 pos)
{
	struct bt_pkt *p = pkt();
	if (!p)
		return count;
	void *img = image(p->slot);
	if (!img)
		return count;
	for (__u32 i = 0; i < VR_LIST_MAX; i++)
		if (i >= count || word(img, at, 1 + i) >= pos)
			return i;
	return count;
}

/* Starts walking a vecref's rules at `pos`. False: it is not a list. */
static __always_inline bool stream_open(void *img, struct bt_stream *s, __u32 ref, __u32 pos)
{
	__u32 v = ref & VR_PAYLOAD;

	s->next = BT_NONE;
	s->count = s->at = s->line = 0;
	switch (ref >> VR_SHIFT) {
	case VR_ABSENT:
	case VR_EMPTY:
		return true;
	case VR_ONE:
		if (v >= pos)
			s->next = v;
		return true;
	case VR_LIST: {
		struct bt_line *l = line(img, v);

		if (!l)
			return true;
		s->line = v;
		s->count = l->w[0];
		s->second = l->w[2];
		if (unlikely(pos)) {
			s->at = bt_list_seek(v, s->count, pos);
			if (s->at < s->count)
				s->next = word(img, v, 1 + s->at);
		} else if (s->count) {
			s->next = l->w[1];
		}
		return true;
	}
	}
	return false;
}

static __always_inline void stream_advance(void *img, struct bt_stream *s)
{
	s->at++;
	if (s->at >= s->count)
		s->next = BT_NONE;
	else
		s->next = s->at == 1 ? s->second : word(img, s->line, 1 + s->at);
}

#if BT_FAMILY == 6
#include "classify6.h"
#else
/* The value of the longest prefix of `addr` (host order) in a PREFIX table, 0 if it has none. */
__noinline int bt_prefix_ref(__u32 table, __u32 mask, __u64 seed, __u32 lens, __u32 addr)
{
	struct bt_pkt *p = pkt();
	if (!p)
		return 0;
	void *img = image(p->slot);
	if (!img)
		return 0;
	for (int i = 0; i < 32; i++) {
		if (!lens)
			break;
		__u32 bit = 31 - __builtin_clz(lens);
		lens &= ~(1u << (bit & 31));
		__u32 prefix = addr & (0xffffffffu << ((31 - bit) & 31));
		__u32 ref = cuckoo(img, table, mask, seed, (__u64)prefix | (__u64)(bit + 1) << 32);
		if (ref)
			return ref;
	}
	return 0;
}

/* The ref of a source or destination address in its field's table. */
static __always_inline __u32 addr_ref(struct bt_pkt *p, struct bt_field *f)
{
	return bt_prefix_ref(f->table, f->mask, f->seed, f->lens, bpf_ntohl(f->what == F_SADDR ? p->saddr : p->daddr));
}
#endif

/* What a field's table says of this packet. */
static __noinline __u32 field_ref(void *img, struct bt_pkt *p, struct bt_field *f)
{
	__u32 v = 0, ref;

	switch (f->what) {
	case F_SADDR:
	case F_DADDR:
		ref = addr_ref(p, f);
		return ref ? ref : f->dflt;
	case F_PROTO:
		v = p->proto;
		break;
	case F_SPORT:
	case F_DPORT:
		if (!(p->flags & P_PORTS))
			return f->absent;
		v = f->what == F_SPORT ? p->sport : p->dport;
		break;
	case F_IIF:
		v = p->class_in;
		break;
	case F_OIF:
		v = p->class_out;
		break;
	case F_ICMP:
		if (p->proto != BT_ICMP || p->frag_off)
			return f->absent;
		v = (__u32)p->icmp_type << 8 | p->icmp_code;
		break;
	case F_TCP_FLAGS:
		if (p->proto != IPPROTO_TCP || p->frag_off)
			return f->absent;
		v = p->tcp_flags;
		break;
	case F_CTSTATE:
		v = bt_ct_state_bits(p) & 0x7f;
		break;
	}
	switch (f->kind) {
	case FK_PAGE16:
		v &= 0xffff;
		ref = word(img, f->table, v >> 8);
		if (ref >> VR_SHIFT == VR_PAGE)
			ref = word(img, ref & VR_PAYLOAD, v & 255);
		return ref;
	case FK_DIRECT:
		return v <= f->mask ? word(img, f->table, v) : f->dflt;
	}
	return (__u32)VR_ALL << VR_SHIFT;
}

/* What is left of summary word `w` of all vectors. */
static __always_inline __u64 vec_summary(void *img, struct bt_pkt *p, __u32 w)
{
	__u64 sum = ~0ULL;
	for (int i = 0; i < BT_MAX_FIELDS; i++) {
		if (i >= p->m_nvec)
			break;
		__u64 *s = line(img, p->m_vec[i]);
		sum &= s ? s[masked(w, 7)] : 0;
	}
	return sum;
}

static __always_inline __u32 popcount(__u64 x)
{
	x -= x >> 1 & 0x5555555555555555ULL;
	x = (x & 0x3333333333333333ULL) + (x >> 2 & 0x3333333333333333ULL);
	x = (x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return x * 0x0101010101010101ULL >> 56;
}

/* ANDs block `b` of all vectors into m_blk. */
static __noinline void vec_block(void *img, struct bt_pkt *p, __u32 b)
{
	for (int w = 0; w < 8; w++)
		p->m_blk[w] = ~0ULL;
	for (int i = 0; i < BT_MAX_FIELDS; i++) {
		if (i >= p->m_nvec)
			break;
		__u32 at = p->m_vec[i];
		__u64 *s = line(img, at);
		struct bt_line *h = line(img, at + 1);
		if (!s || !h)
			goto none;
		__u32 w = masked(b >> 6, 7);
		__u32 rank = ((__u16 *)h)[w] + popcount(s[w] & ((1ULL << (b & 63)) - 1));
		__u32 ref = rank < 12 ? h->w[masked(4 + rank, 15)] : word(img, at + 2, rank - 12);
		__u64 *blk = line(img, ref);
		if (!blk)
			goto none;
		for (int k = 0; k < 8; k++)
			p->m_blk[k] &= blk[k];
	}
	return;
none:
	for (int w = 0; w < 8; w++)
		p->m_blk[w] = 0;
}

/* The search of a chain's fields for the best vecref. */
struct bt_search {
	struct bt_pkt *p;
	void *img;
	__u32 fields, best;
};

static long ask_field(__u64 i, struct bt_search *q)
{
	struct bt_pkt *p = q->p;
	struct bt_field *f = line(q->img, q->fields + i / 2);
	if (!f)
		return 1;
	__u32 ref = field_ref(q->img, p, f + masked(i, 1));
	__u32 tag = ref >> VR_SHIFT;
	if (tag == VR_VEC) {
		__u32 n = p->m_nvec;
		if (n < BT_MAX_FIELDS) {
			p->m_vec[masked(n, 7)] = ref & VR_PAYLOAD;
			p->m_nvec = n + 1;
		}
	} else if (tag < q->best >> VR_SHIFT) {
		q->best = ref;
		/* No rule, or one: nothing can narrow it further. */
		return tag <= VR_ONE;
	}
	return 0;
}

/* The candidates of a chain that is searched by its fields. */
static __always_inline void enter_vectors(void *img, struct bt_pkt *p, struct bt_chain *c, __u32 pos)
{
	struct bt_search q = { .p = p, .img = img, .fields = c->fields, .best = (__u32)VR_ALL << VR_SHIFT };

	p->m_nvec = 0;
	bpf_loop(c->nfields, ask_field, &q, 0);
	if (stream_open(img, &p->m_stream[0], q.best, pos)) {
		p->m_stream[1].next = BT_NONE;
		p->m_mode = MODE_STREAM;
	} else if (p->m_nvec) {
		p->m_mode = MODE_VEC;
		__u32 b = pos >> 9;
		p->m_sumword = b >> 6;
		p->m_sum = b >> 6 < 8 ? vec_summary(img, p, b >> 6) & (~0ULL << (b & 63)) : 0;
		p->m_bits = 0;
		p->m_word = 8;
	}
}

/* Enters chain `c`, which is at `at`, at rule `pos` and finds out which rules are candidates. False: its fields are to be asked, which
 * bt_enter does. */
static __always_inline bool enter(struct bt_pkt *p, void *img, struct bt_chain *c, __u32 at, __u32 pos)
{
	p->m_chain = at;
	p->m_pos = pos;
	p->m_rules = c->rules;
	p->m_nrules = c->nrules;
	p->m_next = c->next;
	p->m_mode = MODE_SCAN;
	/* netfilter ends packets whose L4 header an L4 match can't read ("hotdrop"): no rule may be passed over. */
	if (unlikely(p->flags & (P_TRUNC | P_BAD_EXT) || p->frag_off))
		return true;
#if BT_FAMILY == 4 /* IPv6's compiler makes none */
	if (c->kind == CHAIN_HASH) {
		__u32 ref = 0;
		if (p->flags & P_PORTS)
			ref = cuckoo(img, c->hash_table, c->hash_mask, c->hash_seed,
				     (__u64)bpf_ntohl(p->daddr) | (__u64)p->dport << 32 | (__u64)p->proto << 48);
		stream_open(img, &p->m_stream[0], ref, pos);
		stream_open(img, &p->m_stream[1], c->residual, pos);
		p->m_mode = MODE_STREAM;
		return true;
	}
#endif
	return c->kind != CHAIN_BITVEC;
}

/* As enter. -1: there is no such chain. */
__noinline int bt_enter(__u32 at, __u32 pos)
{
	struct bt_pkt *p = pkt();
	if (!p)
		return -1;
	void *img = image(p->slot);
	if (!img)
		return -1;
	struct bt_chain *c = line(img, at);
	if (!c)
		return -1;
	if (!enter(p, img, c, at, pos))
		enter_vectors(img, p, c, pos);
	return 0;
}

/* The next candidate at or after m_pos; BT_NONE: none is left. In MODE_VEC, BT_NONE - 1: not found yet, ask again. */
#define BT_AGAIN (BT_NONE - 1)
static __always_inline __u32 next_candidate(void *img, struct bt_pkt *p)
{
	if (p->m_mode == MODE_SCAN)
		return p->m_pos < p->m_nrules ? p->m_pos : BT_NONE;
	if (p->m_mode == MODE_STREAM) {
		__u32 a = p->m_stream[0].next, b = p->m_stream[1].next;
		if (a < b) {
			stream_advance(img, &p->m_stream[0]);
			return a;
		}
		if (b == BT_NONE)
			return BT_NONE;
		stream_advance(img, &p->m_stream[1]);
		if (a == b)
			stream_advance(img, &p->m_stream[0]);
		return b;
	}
	if (p->m_bits) {
		__u32 bit = __builtin_ctzll(p->m_bits);
		p->m_bits &= p->m_bits - 1;
		return p->m_block * 512 + p->m_word * 64 + bit;
	}
	if (p->m_word < 7) {
		__u32 w = p->m_word + 1;
		for (int i = 0; i < 7; i++) {
			if (w >= 7 || p->m_blk[masked(w, 7)])
				break;
			w++;
		}
		p->m_word = w;
		p->m_bits = p->m_blk[masked(w, 7)];
		return BT_AGAIN;
	}
	if (p->m_sum) {
		__u32 b = p->m_sumword * 64 + __builtin_ctzll(p->m_sum);
		p->m_sum &= p->m_sum - 1;
		p->m_block = b;
		vec_block(img, p, b);
		__u32 w = 0;
		if (b == p->m_pos >> 9) {
			/* Rules before m_pos were passed. */
			w = masked(p->m_pos >> 6, 7);
			p->m_blk[w] &= ~0ULL << (p->m_pos & 63);
		}
		p->m_word = w;
		p->m_bits = p->m_blk[w];
		return BT_AGAIN;
	}
	if (p->m_sumword < 7 && (p->m_sumword + 1) * 64 * 512 < p->m_nrules) {
		p->m_sumword++;
		p->m_sum = vec_summary(img, p, p->m_sumword);
		return BT_AGAIN;
	}
	return BT_NONE;
}
