/* SPDX-License-Identifier: GPL-2.0-only */
/* Packets that OUTPUT sends to another device than the stack chose meet that device's MTU here, since bpf_redirect_neigh asks
 * nobody.
 *
 * Deviation: a packet without DF is not fragmented, a program cannot. It is answered like one with DF; the sender's stack then knows
 * the smaller MTU of the path, and fragments the next one itself. */
#pragma once

#include "bt.h"
#include "answer.h"
#include "icmp.h"

/* BT_NEXT: it fits `ifindex`. Else what is to happen: the redirect of an ICMP error to the sender, or BT_DROP. */
__noinline int bt_mtu(struct __sk_buff *skb, __u32 ifindex)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 mtu, flags = 0;
	int r;

	if (!p)
		return BT_DROP;
	/* In: the length to ask for, 0 where segments are to be asked; out: the MTU. */
	mtu = p->len;
	if (skb->gso_size) {
		mtu = 0;
		flags = BPF_MTU_CHK_SEGS;
	}
	r = bpf_check_mtu(skb, ifindex, &mtu, 0, flags);
	if (r == BPF_MTU_CHK_RET_SUCCESS)
		return BT_NEXT;
	stat_add(STAT_DROP_MTU);
	if (r < 0 || !answer_begin(skb, p))
		return BT_DROP;
	return BT_FAMILY == 6 ? bt_icmp_error(skb, 2, 0, bpf_htonl(mtu)) : bt_icmp_error(skb, 3, 4, bpf_htonl(mtu & 0xffff));
}
