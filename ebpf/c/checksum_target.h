/* SPDX-License-Identifier: GPL-2.0-only */
/* -j CHECKSUM: the transport checksum that the sender left to a device (CHECKSUM_PARTIAL) is computed now, as skb_checksum_help does. */
#pragma once

#include "bt.h"
#include "ct_check.h"
#include "ops_arg.h"

struct sk_buff___csum {
	unsigned char *head, *data;
	__u16 csum_start, csum_offset;
} __attribute__((preserve_access_index));

/* Bytes before the transport header at most: of the scratch buffer, which holds them for a while. */
#define SUM_HEADERS 208
/* What helpers make no packet longer than. */
#define SUM_LONGEST 15000

/* Whoever gets the packet has to believe its sum. No helper says so, but taking bytes off the front up to behind where the sum begins
 * makes the kernel forget that there is something left to do. They are put back. */
static __always_inline int sum_is_done(struct __sk_buff *skb, struct bt_ctx *x, struct bt_pkt *p, __u32 start)
{
	__u32 taken = start + 2, held = taken + ETH_HLEN, len = skb->len;
	/* A header of IP is left. */
	__u32 least = held + (BT_FAMILY == 6 ? 40 : 20);

	if (len < least && bpf_skb_change_tail(skb, least, 0))
		return 0;
	held = length(held, 255);
	if (bpf_skb_load_bytes(skb, 0, x->buf, held))
		return 0;
	if (bpf_skb_adjust_room(skb, -(__s32)taken, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return 0;
	if (bpf_skb_adjust_room(skb, taken, BPF_ADJ_ROOM_MAC, BPF_F_ADJ_ROOM_NO_CSUM_RESET))
		return -1;
	if (bpf_skb_store_bytes(skb, 0, x->buf, held, 0))
		return -1;
	return len < least && bpf_skb_change_tail(skb, len, 0) ? -1 : 0;
}

__noinline int bt_target_checksum(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct sk_buff___csum *k = (void *)skb;
	__u32 start, at;
	__u16 sum;
	int r;

	if (!p || !x)
		return -1;
	if (skb_summed(skb) != SUM_PARTIAL || skb->gso_size)
		return 0;
	start = BPF_CORE_READ(k, csum_start) - (BPF_CORE_READ(k, data) - BPF_CORE_READ(k, head));
	at = start + BPF_CORE_READ(k, csum_offset);
	/* Longer ones are met on lo alone, which asks nobody for a sum. */
	if (start < 20 || start > SUM_HEADERS || at + 2 > skb->len || skb->len > SUM_LONGEST)
		return 0;
	x->c_sum = 0;
	x->c_at = start;
	x->c_left = skb->len - start;
	bpf_loop(260, sum_cb, &skb, 0);
	if (x->c_left)
		return 0;
	sum = ~sum_fold(x->c_sum);
	if (!sum)
		sum = 0xffff;
	r = sum_is_done(skb, x, p, start);
	if (r || skb_summed(skb) == SUM_PARTIAL)
		return r;
	return bpf_skb_store_bytes(skb, at, &sum, sizeof(sum), 0) ? -1 : 0;
}
