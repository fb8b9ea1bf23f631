/* SPDX-License-Identifier: GPL-2.0-only */
/* The ports of a bridge that a packet came in by and leaves by, and the check of them: physdev. */
#pragma once

#include "bt.h"
#include "candidates.h"
#include "kernel.h"
#include "kernel_bridge.h"
#include "ops_arg.h"

enum physdev_asked { PHYS_IN = 1, PHYS_OUT = 2, PHYS_BRIDGED = 4, PHYS_IS_IN = 8, PHYS_IS_OUT = 16 };

static __always_inline bool shown_by_bridge(struct __sk_buff *skb)
{
	struct sk_buff___ext *k = kernel_skb(skb);

	return has_bridge_info(k->active_extensions);
}

/* Whether this is the egress of a port, for what is bridged. */
static __always_inline bool leaves_by_port(struct __sk_buff *skb, const struct bt_pkt *p)
{
	return (p->hook == H_FWD || p->hook == H_POST) && !(p->flags & P_LOCAL) && p->ifout != skb->ifindex;
}

/* The port that br_netfilter says a packet came in by that is past the bridge. */
__noinline __u32 bt_port_noted(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_bridge_info info = {};

	return bridge_info(skb, &info) ? info.physin : 0;
}

/* The port that a packet came in by; 0: none, or no bridge shows it to the rules. */
static __always_inline __u32 port_in(struct __sk_buff *skb, const struct bt_pkt *p)
{
	if (p->flags & P_LOCAL || p->hook == H_OUT)
		return 0;
	if (p->hook == H_PRE && !p->vrf)
		return p->ifin != skb->ifindex ? skb->ifindex : 0;
	if (leaves_by_port(skb, p))
		return skb->ingress_ifindex;
	return shown_by_bridge(skb) ? bt_port_noted(skb) : 0;
}

static __always_inline bool class_between(__u32 class, __u32 range)
{
	return class >= (range & 0xffff) && class <= range >> 16;
}

/* how >> 16: what is asked, and << 8 what of it is inverted; lo | hi << 16 of the classes of both names. As xt_physdev: of what no bridge shows
 * every inverted question holds, and no other. */
__noinline int bt_op_physdev(struct __sk_buff *skb, __u32 how, __u32 range_in, __u32 range_out)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 asked = how >> 16 & 31, inverted = how >> 24 & 31, in, out;

	if (!p)
		return -1;
	in = port_in(skb, p);
	if (!in)
		return !(asked & ~inverted);
	out = leaves_by_port(skb, p) ? skb->ifindex : 0;
	if (asked & inverted & PHYS_IS_IN)
		return 0;
	if (asked & PHYS_BRIDGED && !out == !(inverted & PHYS_BRIDGED))
		return 0;
	if (asked & PHYS_IS_OUT && !out == !(inverted & PHYS_IS_OUT))
		return 0;
	if (asked & PHYS_IN && class_between(bt_dev_class(skb, in), range_in) == !!(inverted & PHYS_IN))
		return 0;
	if (!(asked & PHYS_OUT))
		return 1;
	return out && class_between(bt_dev_class(skb, out), range_out) != !!(inverted & PHYS_OUT);
}
