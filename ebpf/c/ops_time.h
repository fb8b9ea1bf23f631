/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m time`. Programs are told no wall clock but TAI's, which the kernel moves together with UTC's; how far they are apart user space
 * says at each commit. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

#define DAY 86400

/* The day of the month of a day since 1970. Years are counted from the first of March, so that a leap day ends one. */
static __always_inline __u32 month_day(__u32 days)
{
	__u32 shifted = days + 719468, of_era = shifted % 146097;
	__u32 year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	__u32 of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
	return of_year - (153 * month + 2) / 5 + 1;
}

__noinline int bt_op_time(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_control *c = control();
	void *img = p ? image(p->slot) : NULL;
	struct bt_line *l = img ? line(img, at) : NULL;
	if (!c || !l)
		return -1;
	struct bt_time_params *t = (struct bt_time_params *)l;
	__u64 stamp = bpf_ktime_get_tai_ns() / 1000000000 - (__s64)(__s32)c->tai_offset;

	if (t->kernel_zone)
		stamp -= 60 * (__s64)(__s32)c->minutes_west;
	/* Before 1970 it is a large number. */
	if (stamp < t->date_start || stamp > t->date_stop)
		return 0;
	__u32 of_day = stamp % DAY, days = stamp / DAY;
	if (t->day_start < t->day_stop) {
		if (of_day < t->day_start || of_day > t->day_stop)
			return 0;
	} else {
		if (of_day < t->day_start && of_day > t->day_stop)
			return 0;
		/* The days are those on which the span began. */
		if (t->contiguous && of_day <= t->day_stop)
			days -= 1;
	}
	/* 1970 began with a Thursday. */
	return t->week_days >> ((days + 3) % 7 + 1) & 1 && t->month_days >> (month_day(days) & 31) & 1;
}
