/* SPDX-License-Identifier: GPL-2.0-only */
/* Marks on packets that one of our programs sends to another device, so that the program there knows. They live in skb->cb under
 * a random magic of this namespace, and are taken off by whoever meets them. */
#pragma once
#include "bt.h"

enum bt_inject {
	INJ_NONE,
	INJ_DONE,      /* every hook was run: let it pass */
	INJ_LOCAL_OUT, /* made by us (an answer of REJECT): run OUTPUT and POSTROUTING; belongs to connection `ct` */
	INJ_LO,        /* ran OUTPUT and POSTROUTING on lo's egress: its connection is known */
	INJ_FORWARD,   /* ran PREROUTING and was routed: its connection is known */
	INJ_TEE,       /* a copy that TEE made, with the number of its record (tee.h): it goes on from here */
	INJ_TEE_OUT,   /* such a copy on its way: run OUTPUT and POSTROUTING */
	INJ_VRF_DONE,  /* go out by the VRF, to come in there with INJ_DONE */
	INJ_VRF_LO,    /* likewise, with INJ_LO */
	INJ_BRIDGED,   /* ran PREROUTING at the port cb[4] and waited at its bridge for the link address: it goes back in by that port */
};

/* A kind that also tells what the packet is to its connection, and whether it is traced. */
static __always_inline __u32 with_ct(const struct bt_pkt *p, __u32 kind)
{
	return kind | (__u32)p->ctinfo << 8 | (__u32)p->ctdir << 16 | (__u32)p->traced << 24;
}

/* Above the bit there may be more, of host_route.h. */
static __always_inline bool was_traced(__u32 kind)
{
	return kind >> 24 & 1;
}

static __always_inline void mark_injected(struct __sk_buff *skb, struct bt_control *ctl, __u32 kind, __u32 ct)
{
	skb->cb[0] = ctl->magic;
	skb->cb[1] = kind;
	skb->cb[2] = ct;
	skb->cb[3] = ~ctl->magic;
}

/* The low byte of what is returned is the kind; the rest as mark_injected's caller put it there. `*ct` is the connection + 1. */
static __always_inline __u32 take_injected(struct __sk_buff *skb, struct bt_control *ctl, __u32 *ct)
{
	if (likely(skb->cb[0] != ctl->magic || skb->cb[3] != ~ctl->magic))
		return INJ_NONE;
	__u32 kind = skb->cb[1];
	*ct = skb->cb[2];
	skb->cb[0] = 0;
	skb->cb[3] = 0;
	return kind;
}
