/* SPDX-License-Identifier: GPL-2.0-only */
/* -j RATEEST and -m rateest: estimators by name, each a moving average of packets and bytes in a second.
 *
 * The kernel's are moved on by a timer, once in an interval. Here whoever asks or adds moves them on first, by as many intervals as have
 * gone by: nothing came in those between. Intervals are those of a kernel with HZ of 250: 62 ticks of 4 ms, times two to the power of `log`.
 *
 * What user space owes: before the commit that names an estimator its entry in bt_rateests, and its removal when no rule names it. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

#define RE_TICK_NS 4000000
#define RE_QUARTER 62
#define RE_SPINS (1 << 20)
#define RE_MOST_TURNS (1 << 23)
#define RE_MAX 256

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RE_MAX);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct bt_rateest);
} bt_rateests SEC(".maps");

struct re_walk {
	struct bt_rateest *e;
};

static long re_spin(__u32 n, struct re_walk *w)
{
	return __sync_lock_test_and_set(&w->e->lock, 1) == 0;
}

/* An average, scaled by 2^8, after an interval in which so much came. */
static __always_inline __u64 re_average(const struct bt_rateest *e, __u64 average, __u64 came)
{
	__u32 weight = e->ewma & 63, scale = 10 - e->log;

	return average + (came << (scale & 63) >> weight) - (average >> weight);
}

/* An interval in which nothing came. */
static long re_idle(__u32 n, struct re_walk *w)
{
	struct bt_rateest *e = w->e;
	__u64 bytes = re_average(e, e->bytes, 0), packets = re_average(e, e->packets, 0);

	if (bytes == e->bytes && packets == e->packets)
		return 1;
	e->bytes = bytes;
	e->packets = packets;
	return 0;
}

/* The estimator, held and moved on to now. NULL: there is none, or it can't be had. */
static __always_inline struct bt_rateest *re_hold(__u32 id)
{
	struct re_walk w = { .e = bpf_map_lookup_elem(&bt_rateests, &id) };
	struct bt_rateest *e = w.e;
	__u64 now, interval, turns;

	if (!e || bpf_loop(RE_SPINS, re_spin, &w, 0) >= RE_SPINS)
		return NULL;
	now = bpf_ktime_get_ns() / RE_TICK_NS;
	if ((__s64)(now - e->next) < 0)
		return e;
	interval = (__u64)RE_QUARTER << (e->log & 7);
	turns = (now - e->next) / interval;
	e->next += (turns + 1) * interval;
	e->bytes = re_average(e, e->bytes, e->came_bytes);
	e->packets = re_average(e, e->packets, e->came_packets);
	e->came_bytes = e->came_packets = 0;
	if (turns > RE_MOST_TURNS)
		turns = RE_MOST_TURNS;
	if (turns)
		bpf_loop(turns, re_idle, &w, 0);
	return e;
}

static __always_inline void re_release(struct bt_rateest *e)
{
	__sync_lock_test_and_set(&e->lock, 0);
}

__noinline int bt_target_rateest(struct __sk_buff *skb, __u32 id)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_rateest *e = re_hold(id);

	if (!p || !e)
		return 0;
	e->came_packets += p->npkts;
	e->came_bytes += p->nbytes;
	re_release(e);
	return 0;
}

/* What is compared: a rate, or what it lacks to `whole`. */
static __always_inline __u64 re_side(__u64 average, __u64 whole, __u32 asked)
{
	average >>= 8;
	if (!(asked & RATEEST_DELTA))
		return average;
	return whole >= average ? whole - average : 0;
}

static __always_inline bool re_compare(__u64 a, __u64 b, __u32 how)
{
	return how == RATEEST_LESS ? a < b : how == RATEEST_GREATER ? a > b : a == b;
}

/* The rates of estimator `id`: bytes and packets. False: there is none. */
static __always_inline bool re_rates(__u32 id, __u64 *rates)
{
	struct bt_rateest *e = re_hold(id);

	if (!e)
		return false;
	rates[0] = e->bytes;
	rates[1] = e->packets;
	re_release(e);
	return true;
}

/* `at`: line of bytes of both sides, packets of both sides. */
__noinline int bt_op_rateest(struct __sk_buff *skb, __u32 how, __u32 first, __u32 second, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	void *img = p ? image(p->slot) : NULL;
	struct bt_line *l = img ? line(img, at) : NULL;
	__u32 asked = how >> 16;
	__u64 one[2], two[2];
	bool holds = true;

	if (!l || !re_rates(first, one))
		return -1;
	one[0] = re_side(one[0], l->w[0], asked);
	one[1] = re_side(one[1], l->w[2], asked);
	two[0] = l->w[1];
	two[1] = l->w[3];
	if (asked & RATEEST_OTHER) {
		__u64 rates[2];
		if (!re_rates(second, rates))
			return -1;
		two[0] = re_side(rates[0], two[0], asked);
		two[1] = re_side(rates[1], two[1], asked);
	}
	if (asked & RATEEST_BYTES)
		holds &= re_compare(one[0], two[0], asked >> 8);
	if (asked & RATEEST_PACKETS)
		holds &= re_compare(one[1], two[1], asked >> 8);
	return holds != (how & OPF_INVERT);
}
