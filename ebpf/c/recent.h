/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m recent`, as xt_recent: lists of at most 100 addresses, each with its newest time stamps.
 *
 * A list is one value of bt_recent, keyed by the list's number, made by the first packet that asks for it and deleted by user
 * space when no rule names it. All of it changes under its spin word; holders are on CPU with bottom halves off and do bounded
 * work. Stamps are in chunks of 32 beside it, made when first needed and kept with the list.
 *
 * What user space owes:
 * - a number for each list name that stays the same while some rule names the list (OP_RECENT's b), never given to another name
 *   before the old list's entries were deleted;
 * - OP_RECENT's a: stamps kept per address - 1, the same in all rules of a list: the largest over its rules of (hitcount rounded
 *   up to a power of two, 32 without one) - 1; 0 stands for 255. A list whose a grows is emptied, as legacy does;
 * - the mask in bt_recent_params: of the rule that made the list, in every rule of it. Legacy keeps one mask a list and does not
 *   look at those of later rules;
 * - refusal (Limit) of a hitcount above 256 (legacy: 65535, before Linux 6.12 255), of more than BT_RECENT_LISTS lists, or when
 *   100 * (stamps / 32, at least 1) summed over the lists exceeds BT_RECENT_CHUNKS;
 * - when the last rule of a list goes: deletion of its key in bt_recent and all its keys in bt_recent_stamps, at the next commit or
 *   some seconds later, so that no packet on the old image still works on them. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

#define BT_RECENT_LISTS 256
#define BT_RECENT_ADDRS 100
#define BT_RECENT_CHUNK 32
#define BT_RECENT_CHUNKS 32768
#define BT_RECENT_RING 256
#define BT_RECENT_SPINS (1 << 20)
#define BT_RECENT_TICK 4000000 /* ns: ages are compared in steps of 1/250 s, as legacy does in jiffies */

enum bt_recent_what { RECENT_SET, RECENT_RCHECK, RECENT_UPDATE, RECENT_REMOVE };

struct bt_recent_entry {
	bt_addr addr; /* masked, network byte order */
	__u8 ttl, live;
	__u16 nstamps, index, pad;
	__u32 pad2;
	__u64 born, last; /* ktime, ns: first and newest stamp; the order of `last` is legacy's eviction order */
};

struct bt_recent_list {
	__u32 lock, ring;
	__u32 top, pad; /* entries from `top` on were never used */
	__u64 clock;    /* the newest stamp in the list: stamps never repeat */
	struct bt_recent_entry entries[BT_RECENT_ADDRS];
};

struct bt_recent_chunk {
	__u64 stamps[BT_RECENT_CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_RECENT_LISTS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct bt_recent_list);
} bt_recent SEC(".maps");

/* Key: list << 32 | entry << 8 | chunk. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BT_RECENT_CHUNKS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct bt_recent_chunk);
} bt_recent_stamps SEC(".maps");

/* Zeros to begin values with: too large for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_recent_list);
} bt_recent_zero SEC(".maps");

static __always_inline struct bt_recent_list *recent_list(__u32 id)
{
	struct bt_recent_list *l = bpf_map_lookup_elem(&bt_recent, &id);
	__u32 zero = 0;
	void *empty;

	if (l)
		return l;
	empty = bpf_map_lookup_elem(&bt_recent_zero, &zero);
	if (!empty)
		return NULL;
	bpf_map_update_elem(&bt_recent, &id, empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&bt_recent, &id);
}

static __always_inline __u64 *recent_stamp(__u32 id, __u32 entry, __u32 index, bool make)
{
	__u64 key = (__u64)id << 32 | (entry & 127) << 8 | (index / BT_RECENT_CHUNK & 7);
	struct bt_recent_chunk *c = bpf_map_lookup_elem(&bt_recent_stamps, &key);

	if (!c && make) {
		__u32 zero = 0;
		void *empty = bpf_map_lookup_elem(&bt_recent_zero, &zero);
		if (!empty)
			return NULL;
		bpf_map_update_elem(&bt_recent_stamps, &key, empty, BPF_NOEXIST);
		c = bpf_map_lookup_elem(&bt_recent_stamps, &key);
	}
	return c ? &c->stamps[index & (BT_RECENT_CHUNK - 1)] : NULL;
}

struct recent_scan {
	struct bt_recent_list *list;
	bt_addr addr;
	__u32 ttl; /* 0: any */
#if BT_FAMILY == 6
	__u32 pad; /* two words to a stack slot, lest the verifier tell too many states apart */
#endif
	__u32 found, oldest, unused, used; /* entry + 1; 0: none. used: how many */
	__u64 found_born, oldest_last;
};

static long recent_scan_step(__u32 n, struct recent_scan *s)
{
	struct bt_recent_entry *e;

	if (n >= BT_RECENT_ADDRS)
		return 1;
	e = &s->list->entries[n];
	if (!e->live) {
		if (!s->unused)
			s->unused = n + 1;
		return 0;
	}
	s->used++;
	if (!s->oldest || e->last < s->oldest_last) {
		s->oldest = n + 1;
		s->oldest_last = e->last;
	}
	/* Several entries of one address differ in TTL; the first made is met first. */
	if (addr_eq(e->addr, s->addr) && (!s->ttl || !e->ttl || s->ttl == e->ttl) && (!s->found || e->born < s->found_born)) {
		s->found = n + 1;
		s->found_born = e->born;
	}
	return 0;
}

struct recent_lock {
	struct bt_recent_list *list;
};

static long recent_spin(__u32 n, struct recent_lock *s)
{
	return __sync_lock_test_and_set(&s->list->lock, 1) == 0;
}

/* Adds a stamp. False: no memory for it. */
static __always_inline bool recent_stamp_now(struct bt_recent_list *l, __u32 id, __u32 n, __u64 now)
{
	struct bt_recent_entry *e;
	__u64 *stamp;

	if (n >= BT_RECENT_ADDRS)
		return false;
	e = &l->entries[n];
	__u32 index = e->index & (l->ring - 1);
	stamp = recent_stamp(id, n, index, true);
	if (!stamp)
		return false;
	*stamp = now;
	e->last = now;
	e->index = index + 1;
	if (e->index > e->nstamps)
		e->nstamps = e->index;
	return true;
}

/* With the list locked. */
static __always_inline int recent_locked(struct bt_recent_list *l, struct recent_scan *s, __u32 id, const struct bt_recent_params *want,
					 bool invert, __u8 ttl)
{
	bool ret = invert;
	__u64 now = bpf_ktime_get_ns();
	if (now <= l->clock)
		now = l->clock + 1;
	l->clock = now;

	bpf_loop(l->top, recent_scan_step, s, 0);
	if (!s->unused && l->top < BT_RECENT_ADDRS)
		s->unused = l->top + 1;
	if (!s->found) {
		if (want->op != RECENT_SET)
			return ret;
		__u32 n = (s->used >= BT_RECENT_ADDRS || !s->unused ? s->oldest : s->unused) - 1;
		if (n >= BT_RECENT_ADDRS)
			return -1;
		struct bt_recent_entry *e = &l->entries[n];
		e->addr = s->addr;
		e->ttl = ttl;
		e->nstamps = 0;
		e->index = 0;
		e->born = now;
		if (n >= l->top)
			l->top = n + 1;
		e->live = recent_stamp_now(l, id, n, now);
		return e->live ? !ret : -1;
	}
	__u32 n = s->found - 1;
	if (n >= BT_RECENT_ADDRS)
		return -1;
	struct bt_recent_entry *e = &l->entries[n];
	if (want->op == RECENT_SET) {
		ret = !ret;
	} else if (want->op == RECENT_REMOVE) {
		e->live = 0;
		return !ret;
	} else {
		/* The hitcount-th newest stamp decides; without a hitcount the newest. Stamps grow, so those before it are newer. */
		__s64 since = now / BT_RECENT_TICK - want->seconds * (1000000000ULL / BT_RECENT_TICK);
		__u32 back = want->hitcount ? want->hitcount : 1;
		if (back <= e->nstamps) {
			__u32 index = (e->index - back) & (l->ring - 1);
			__u64 *stamp = recent_stamp(id, n, index, false);
			if (stamp && (!want->seconds || since <= (__s64)(*stamp / BT_RECENT_TICK)))
				ret = !ret;
		}
		if (want->reap && s->oldest && !(s->oldest == s->found && want->op == RECENT_UPDATE && ret)) {
			__u32 old = s->oldest - 1;
			if (old < BT_RECENT_ADDRS && since > (__s64)(l->entries[old].last / BT_RECENT_TICK))
				l->entries[old].live = 0;
		}
	}
	if (want->op == RECENT_SET || (want->op == RECENT_UPDATE && ret)) {
		if (!recent_stamp_now(l, id, n, now))
			return -1;
		e->ttl = ttl;
	}
	return ret;
}

/* With the list locked: 1, 0 or -1. Verified apart from the lock's loop. */
__noinline int bt_recent_ask(struct __sk_buff *skb, __u32 how, __u32 id, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_recent_params *want;
	struct recent_scan scan = {};
	struct bt_recent_list *l;
	void *img;
	__u8 ttl;

	if (!p)
		return -1;
	img = image(p->slot);
	want = img ? line(img, at) : NULL;
	l = bpf_map_lookup_elem(&bt_recent, &id);
	if (!want || !l)
		return -1;
	ttl = p->ttl;
	/* As seen before forwarding. Netfilter takes for forwarded what leaves and has no socket, as RSTs of the IPv6 stack. */
	if (p->hook >= H_FWD && (!(p->flags & P_LOCAL) || !skb->sk))
		ttl++;
	scan.list = l;
	scan.addr = addr_and(want->dest ? p->daddr : p->saddr, want->mask);
	scan.ttl = want->ttl ? ttl : 0;
	__u32 ring = how >> 16 ? (how >> 16) + 1 : BT_RECENT_RING;
	if (ring > BT_RECENT_RING)
		ring = BT_RECENT_RING;
	if (ring > l->ring) {
		for (int i = 0; i < BT_RECENT_ADDRS; i++)
			l->entries[i].live = 0;
		l->top = 0;
		l->ring = ring;
	}
	return recent_locked(l, &scan, id, want, how & OPF_INVERT, ttl);
}

__noinline int bt_op_recent(struct __sk_buff *skb, __u32 how, __u32 id, __u32 at)
{
	struct recent_lock lock = { recent_list(id) };
	int result;

	if (!lock.list)
		return -1;
	if (bpf_loop(BT_RECENT_SPINS, recent_spin, &lock, 0) >= BT_RECENT_SPINS)
		return -1;
	result = bt_recent_ask(skb, how, id, at);
	__sync_lock_test_and_set(&lock.list->lock, 0);
	return result;
}
