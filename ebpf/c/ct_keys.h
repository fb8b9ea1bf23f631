/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of tuples: which connection, in which direction, a packet with a tuple is of.
 *
 * A line of two cache lines has fifteen ways. A way is 32 bits of its key's hash, the key's kind, and a number and direction; the
 * key itself is in the connection. A key belongs to the line that its hash names, or to a second one if there was no room, which
 * the first then says for good. Who puts one in holds the lock of the first, so it is there once. Lookups and removals take no
 * lock: a way is one word.
 *
 * Keys are directed: a connection has one for its original and one for its reply direction, as netfilter hashes them, and one for
 * the tuple between both translations when source and destination are translated (KEY_MID, only for finding a connection without
 * a hint). Both have the zone of their direction (CT --zone, 0 without it); those without a hint are found in any zone, the newest
 * of them, by keys of kind KEY_ZONED, which only connections in zones have. The original key is claimed when the connection is
 * made, the reply key when a translation is decided or, without nat, at confirmation.
 *
 * Numbers come from ct_table.h, which includes this. */
#pragma once

#include "ct_state.h"

#define KEY_MID 1
#define KEY_ZONED 2

#define WAY_KIND BT_WAY_KIND
#define WAY_VALUE ((1u << WAY_KIND) - 1)
#define LINE_LOCKED 1ULL
#define LINE_SPILT 2ULL
_Static_assert((BT_TUPLE_WAYS & (BT_TUPLE_WAYS + 1)) == 0, "a line's words are numbered by as many bits");
_Static_assert(CT_NUMBERS << 1 < WAY_VALUE - 1, "numbers fit into a way");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bt_tuple_line);
} bt_tuples SEC(".maps");

static __always_inline __u64 key_hash(const struct bt_tuple *k, __u64 seed)
{
	const __u64 *w = (const __u64 *)k;
#if BT_FAMILY == 6
	__u64 to = bt_hash(w[3] ^ bt_hash(w[2], seed), seed);

	return bt_hash(w[4] ^ (bt_hash(w[1] ^ bt_hash(w[0], seed), seed) + 5 * to), seed);
#else
	return bt_hash(w[1] ^ bt_hash(w[0], seed), seed);
#endif
}

/* Where scratch `k` is in the table: into scratch `k_line` and `k_way`, the way's bits from WAY_KIND on. */
static __always_inline void key_place(struct bt_ctx *x, const struct bt_control *ctl)
{
	__u64 h = key_hash(&x->k, (__u64)ctl->magic << 32 | ctl->seed);

	x->k_line[0] = h & ctl->tuple_mask;
	x->k_line[1] = (h + (h >> 9 | 1)) & ctl->tuple_mask;
	x->k_way = h >> 32 << 32 | (__u64)(x->k.kind & 3) << WAY_KIND;
}

/* Word 0 of a line is its head, the others are its ways. */
static __always_inline __u64 *key_line(__u32 i)
{
	return bpf_map_lookup_elem(&bt_tuples, &i);
}

/* Bit i: word i of the line is `like` in the bits of `mask`. Comparing would be a branch for each, which the verifier would follow
 * both ways. */
static __always_inline __u32 ways_like(const volatile __u64 *line, __u64 like, __u64 mask)
{
	__u32 i, found = 0;

#pragma unroll
	for (i = 1; i <= BT_TUPLE_WAYS; i++) {
		__u64 d = (line[i] ^ like) & mask;

		found |= (__u32)(~(d | -d) >> 63) << i;
		/* One after the other: the words would all be put on the stack. */
		asm volatile("" : "+r"(found));
	}
	return found;
}

/* Stores `to` into the first way that is `like` in the bits of `mask`. */
static __always_inline bool way_swap(volatile __u64 *line, __u64 like, __u64 mask, __u64 to)
{
	__u32 found = ways_like(line, like, mask), turn, at;
	__u64 way;

	for (turn = 0; turn < 3 && found; turn++) {
		at = __builtin_ctz(found) & BT_TUPLE_WAYS;
		found &= found - 1;
		way = line[at];
		if (!((way ^ like) & mask) && __sync_val_compare_and_swap(&line[at], way, to) == way)
			return true;
	}
	return false;
}

static __always_inline bool same_ends(const struct bt_tuple *a, const struct bt_tuple *b)
{
	return addr_eq(a->saddr, b->saddr) && addr_eq(a->daddr, b->daddr) && a->sport == b->sport && a->dport == b->dport &&
	       a->proto == b->proto;
}

/* Whether connection `c` has key `k`, in this direction. */
static __always_inline bool key_of(const struct bt_conn *c, __u32 dir, const struct bt_tuple *k)
{
	bool icmp = c->orig.proto == BT_ICMP;

	if (!(c->status & ST_LIVE))
		return false;
	if (k->kind == KEY_MID)
		return addr_eq(k->saddr, c->orig.saddr) && addr_eq(k->daddr, c->reply.saddr) && k->proto == c->orig.proto &&
		       k->sport == (icmp ? c->reply.sport : c->orig.sport) && k->dport == (icmp ? c->orig.dport : c->reply.sport);
	if (!same_ends(k, dir ? &c->reply : &c->orig))
		return false;
	return k->kind == KEY_ZONED || k->zone == (dir ? c->reply.zone : c->orig.zone);
}

/* The way of a line that leads from scratch `k`, or 0. */
static __always_inline __u64 way_find(const volatile __u64 *line, const struct bt_ctx *x)
{
	__u32 found = ways_like(line, x->k_way, ~(__u64)WAY_VALUE), turn, val;
	struct bt_conn *c;
	__u64 way;

	/* More than one is hardly ever: 32 bits of the hash are alike. */
	for (turn = 0; turn < 3 && found; turn++) {
		way = line[__builtin_ctz(found) & BT_TUPLE_WAYS];
		found &= found - 1;
		val = (way & WAY_VALUE) - 2;
		c = bt_conn_at(val >> 1);
		if (!((way ^ x->k_way) >> WAY_KIND) && c && key_of(c, val & 1, &x->k))
			return way;
	}
	return 0;
}

/* Where scratch `k` leads: (number + 1) << 1 | direction, 0: nowhere. */
__noinline int bt_key_find(__u32 unused)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	__u64 *line, way;

	ARG_USED(unused);
	if (!x || !ctl)
		return 0;
	key_place(x, ctl);
	line = key_line(x->k_line[0]);
	if (!line)
		return 0;
	way = way_find(line, x);
	if (!way && (line[0] & LINE_SPILT)) {
		line = key_line(x->k_line[1]);
		way = line ? way_find(line, x) : 0;
	}
	return way & WAY_VALUE;
}

static long key_lock_cb(__u32 n, void *data)
{
	__u64 *line = key_line(*(__u32 *)data), head;

	if (!line)
		return 1;
	head = *(volatile __u64 *)line;
	if ((head & LINE_LOCKED) || __sync_val_compare_and_swap(line, head, head | LINE_LOCKED) != head)
		return 0;
	*(__u32 *)data = ~0u;
	return 1;
}

/* Claims scratch `k` for a connection's number << 1 | direction. 0: done; 1: another connection has it; -1: there is no room. What
 * the same connection has in its other direction is turned, so that a connection to itself goes on with its reply; a key of any
 * zone is taken over. */
__noinline int bt_key_claim(__u32 val)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	__u64 *line, *second = NULL, head, way;
	__u32 i;
	int r = -1;

	if (!x || !ctl)
		return -1;
	key_place(x, ctl);
	i = x->k_line[0];
	line = key_line(i);
	if (!line)
		return -1;
	key_lock_cb(0, &i);
	if (i != ~0u)
		bpf_loop(1 << 15, key_lock_cb, &i, 0);
	if (i != ~0u)
		return -1;
	head = line[0];
	way = way_find(line, x);
	if (!way && (head & LINE_SPILT)) {
		second = key_line(x->k_line[1]);
		way = second ? way_find(second, x) : 0;
	}
	x->k_way |= val + 2;
	if (way && x->k.kind != KEY_ZONED && ((way ^ x->k_way) & ~1ULL)) {
		r = 1;
	} else if ((way && way_swap(second ?: line, way, ~0ULL, x->k_way)) || way_swap(line, 0, ~0ULL, x->k_way)) {
		r = 0;
	} else {
		head |= LINE_SPILT;
		second = key_line(x->k_line[1]);
		if (second && way_swap(second, 0, ~0ULL, x->k_way))
			r = 0;
	}
	__sync_lock_test_and_set(line, head & ~LINE_LOCKED);
	return r;
}

/* Removes scratch `k` if it leads to connection `i`, in either direction. */
static __always_inline void key_remove(struct bt_ctx *x, const struct bt_control *ctl, __u32 i)
{
	__u32 turn;

	key_place(x, ctl);
	x->k_way |= (i << 1) + 2;
#pragma clang loop unroll(disable)
	for (turn = 0; turn < 2; turn++) {
		__u64 *line = key_line(turn ? x->k_line[1] : x->k_line[0]);

		if (!line || way_swap(line, x->k_way, ~1ULL, 0) || !(line[0] & LINE_SPILT))
			return;
	}
}

__noinline int bt_key_remove(__u32 i)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();

	if (x && ctl)
		key_remove(x, ctl, i);
	return 0;
}
