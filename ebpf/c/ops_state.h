/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks that remember: statistic nth, limit. Their state lives in a line of the image, changed by compare-and-swap alone, so that
 * CPUs agree. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

#define STATE_TRIES 64

static __always_inline struct bt_line *state_line(struct bt_pkt *p, __u32 at)
{
	void *img = image(p->slot);
	return img ? line(img, at) : NULL;
}

/* What is tried until no other CPU was faster. */
struct nth_try {
	__u32 *state, every, nth;
	int holds; /* -1 until it is known */
};

static long nth_step(__u32 n, struct nth_try *t)
{
	__u32 old = *(volatile __u32 *)t->state;
	__u32 next = old + 1 >= t->every ? 0 : old + 1;

	if (__sync_val_compare_and_swap(t->state, old, next) != old)
		return 0;
	t->holds = old == t->nth;
	return 1;
}

/* Word 0 counts packets modulo `every`, from 0; the check holds at `nth`. */
__noinline int bt_op_nth(struct __sk_buff *skb, __u32 how, __u32 at, __u32 every, __u32 nth)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_line *l = p ? state_line(p, at) : NULL;

	if (!l)
		return -1;
	struct nth_try t = { .state = &l->w[0], .every = every, .nth = nth, .holds = -1 };
	bpf_loop(STATE_TRIES, nth_step, &t, 0);
	return t.holds < 0 ? -1 : t.holds != (how & OPF_INVERT);
}

/* Credits as xt_limit counts them: 32000 a second, whatever HZ (CREDITS_PER_JIFFY * HZ for HZ of 250 and 1000), given in steps of
 * 1/250 s. The arithmetic is 32 bits wide there too; the overflow that it refuses is refused by the compiler. */
#define LIMIT_CREDITS 32000
#define LIMIT_SCALE 10000
#define LIMIT_TICK_NS 4000000
#define LIMIT_TICK_CREDITS 128

static __always_inline __u32 limit_credits(__u32 user)
{
	if (user > 0xffffffff / LIMIT_CREDITS)
		return user / LIMIT_SCALE * LIMIT_CREDITS;
	return user * LIMIT_CREDITS / LIMIT_SCALE;
}

/* As nth_try. */
struct limit_try {
	__u64 *state;
	__u32 cap, cost, now;
	bool holds;
};

static long limit_step(__u32 n, struct limit_try *t)
{
	__u64 old = *(volatile __u64 *)t->state, credit = t->cap;
	__u32 begun = old >> 32, at_tick = t->now;

	if (old) {
		/* Another CPU may have read the clock later than we did. */
		__s32 ticks = t->now - begun;
		if (ticks < 0 && ticks > -250) {
			ticks = 0;
			at_tick = begun;
		}
		credit = (old & 0xffffffff) + (__u64)(__u32)ticks * LIMIT_TICK_CREDITS;
		if (credit > t->cap)
			credit = t->cap;
	}
	t->holds = credit >= t->cost;
	if (t->holds)
		credit -= t->cost;
	__u64 new = (__u64)at_tick << 32 | (__u32)credit;
	if (!new)
		new = 1ULL << 32;
	if (old == new || __sync_val_compare_and_swap(t->state, old, new) == old)
		return 1;
	t->holds = false; /* 64 lost races in a row: over any limit */
	return 0;
}

/* The state is one word: credit in the low half, time in ticks in the high half; 0 is a full bucket, not begun. */
__noinline int bt_op_limit(struct __sk_buff *skb, __u32 at, __u32 average, __u32 burst)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_line *l = p ? state_line(p, at) : NULL;

	if (!l)
		return -1;
	struct limit_try t = { .state = (__u64 *)&l->w[0], .cap = limit_credits(average * burst), .cost = limit_credits(average) };
	t.now = bpf_ktime_get_ns() / LIMIT_TICK_NS;
	bpf_loop(STATE_TRIES, limit_step, &t, 0);
	return t.holds;
}
