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

/* Word 0 counts packets modulo `every`, from 0; the check holds at `nth`. */
__noinline int bt_op_nth(struct __sk_buff *skb, __u32 how, __u32 at, __u32 every, __u32 nth)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_line *l = p ? state_line(p, at) : NULL;

	if (!l)
		return -1;
	for (int i = 0; i < STATE_TRIES; i++) {
		__u32 old = *(volatile __u32 *)&l->w[0];
		__u32 next = old + 1 >= every ? 0 : old + 1;
		if (__sync_val_compare_and_swap(&l->w[0], old, next) == old)
			return (old == nth) != (how & OPF_INVERT);
	}
	return -1; /* 64 lost races in a row */
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

/* The state is one word: credit in the low half, time in ticks in the high half; 0 is a full bucket, not begun. */
__noinline int bt_op_limit(struct __sk_buff *skb, __u32 at, __u32 average, __u32 burst)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_line *l = p ? state_line(p, at) : NULL;

	if (!l)
		return -1;
	__u64 *state = (__u64 *)&l->w[0];
	__u32 cap = limit_credits(average * burst), cost = limit_credits(average);
	__u32 now = bpf_ktime_get_ns() / LIMIT_TICK_NS;
	for (int i = 0; i < STATE_TRIES; i++) {
		__u64 old = *(volatile __u64 *)state, credit = cap;
		__u32 begun = old >> 32, at_tick = now;
		if (old) {
			/* Another CPU may have read the clock later than we did. */
			__s32 ticks = now - begun;
			if (ticks < 0 && ticks > -250) {
				ticks = 0;
				at_tick = begun;
			}
			credit = (old & 0xffffffff) + (__u64)(__u32)ticks * LIMIT_TICK_CREDITS;
			if (credit > cap)
				credit = cap;
		}
		bool holds = credit >= cost;
		if (holds)
			credit -= cost;
		__u64 new = (__u64)at_tick << 32 | (__u32)credit;
		if (!new)
			new = 1ULL << 32;
		if (old == new || __sync_val_compare_and_swap(state, old, new) == old)
			return holds;
	}
	return 0; /* 64 lost races in a row: over any limit */
}
