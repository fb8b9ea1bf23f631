/* SPDX-License-Identifier: GPL-2.0-only */
/* netfilter's hooks, table by table in its order. */
#pragma once
#include "inject.h"
#include "ipsec.h"
#include "tables.h"

/* Gives a packet of a device without link headers an empty one, as what is redirected to another device must have. */
static __noinline int framed(struct __sk_buff *skb, const struct bt_pkt *p)
{
	__u16 proto = bpf_htons(BT_ETH_P);

	if (p->l2len)
		return 0;
	return bpf_skb_change_head(skb, ETH_HLEN, 0) ?: bpf_skb_store_bytes(skb, 12, &proto, 2, 0);
}

/* Sends a packet to the ingress of lo, as one from this host to this host. */
static __noinline int to_lo(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, __u32 kind)
{
	__u8 mac[12] = {};

	if (p->l2len && p->l2len != ETH_HLEN)
		return drop_for(skb, p, -STAT_DROP_REWRITE);
	store_mark(skb, p);
	if (framed(skb, p) || bpf_skb_store_bytes(skb, 0, mac, sizeof(mac), 0))
		return drop_for(skb, p, -STAT_DROP_REWRITE);
	mark_injected(skb, ctl, with_ct(p, kind), p->ct);
	return bpf_redirect(ctl->lo_ifindex, BPF_F_INGRESS);
}

/* Whether a packet that has other addresses now than it came in with is one that IPsec might have stopped. What IPsec itself unwrapped, the stack
 * asks about. */
static __always_inline bool stopped_in(struct __sk_buff *skb, struct bt_pkt *p, __u32 dir)
{
	if ((addr_eq(p->saddr, p->came_from) && addr_eq(p->daddr, p->came_to)) || p->ifin == p->lo || unwrapped(skb))
		return false;
	return ipsec_stops(skb, dir, &p->came_from, &p->came_to, p->mark);
}

/* INPUT, for a packet that the stack will deliver to this host. */
static __always_inline int input(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl)
{
	int a, r;

	p->ifout = 0;
	p->class_out = 0;
	p->came_mark = p->mark;
	if ((a = run_table(skb, p, H_IN, T_MANGLE)) != BT_NEXT || (a = run_table(skb, p, H_IN, T_FILTER)) != BT_NEXT ||
	    (a = run_table(skb, p, H_IN, T_SECURITY)) != BT_NEXT)
		return a;
	bt_addr saddr = p->saddr;
	__u32 sport = p->sport;
	if ((a = run_nat(skb, p, H_IN, MANIP_SRC)) != BT_NEXT)
		return a;
	bool to_be_looped = by_lo(p, !addr_eq(p->saddr, saddr) || p->sport != sport) && p->ifin != ctl->lo_ifindex;
	if (stopped_in(skb, p, IPSEC_IN) || (to_be_looped && unwrapped(skb)))
		return drop_for(skb, p, -STAT_DROP_IPSEC);
	if (p->flags & P_LOCAL && p->ctinfo == CI_RELATED && p->ctdir == DIR_REPLY)
		abandon(skb);
	else if (has_part(IMG_CONNTRACK) && (r = bt_ct_confirm(skb)))
		return drop_for(skb, p, r);
	if (to_be_looped)
		return to_lo(skb, p, ctl, INJ_DONE);
	/* The stack is still to find its route, which leads here by the mark that TPROXY gave it. */
	if (p->assigned)
		p->mark = p->came_mark;
	store_mark(skb, p);
	return BT_NEXT;
}

static __always_inline int forward(struct __sk_buff *skb, struct bt_pkt *p)
{
	int a;

	if ((a = run_table(skb, p, H_FWD, T_MANGLE)) != BT_NEXT || (a = run_table(skb, p, H_FWD, T_FILTER)) != BT_NEXT)
		return a;
	return run_table(skb, p, H_FWD, T_SECURITY);
}

/* PREROUTING. `known`: so is its connection. */
static __always_inline int prerouting(struct __sk_buff *skb, struct bt_pkt *p, bool known)
{
	int a, r;

	if ((a = run_table(skb, p, H_PRE, T_RAW)) != BT_NEXT)
		return a;
	if (asks(p, IMG_CONNTRACK) && !known && (r = bt_ct_in(skb)))
		return drop_for(skb, p, r);
	if ((a = run_table(skb, p, H_PRE, T_MANGLE)) != BT_NEXT)
		return a;
	return run_nat(skb, p, H_PRE, MANIP_DST);
}

/* Whether the packet is for a group or a broadcast address. */
static __always_inline bool to_many(const struct bt_pkt *p)
{
#if BT_FAMILY == 6
	return addr_is_multicast(p->daddr);
#else
	return addr_is(p->daddr, 1 << 3 | 1 << 5, 0); /* RTN_BROADCAST, RTN_MULTICAST */
#endif
}

/* OUTPUT, for a packet that this host made. `hop` is set when it may have to leave by another way than it was sent. */
static __always_inline int output(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, bool answer, struct bt_hop *hop)
{
	int a, r;

	/* An error of the stack's own has the connection of the packet that it is about from the beginning. */
	bool handed = answer;
	if (!answer && asks(p, IMG_CONNTRACK) && bt_stack_error(skb)) {
		if ((r = bt_ct_in(skb)))
			return drop_for(skb, p, r);
		handed = p->ctinfo == CI_RELATED;
		if (!handed)
			p->ctinfo = CI_NONE;
	}
	if ((a = run_table(skb, p, H_OUT, T_RAW)) != BT_NEXT)
		return a;
	p->hook = H_OUT;
	/* An answer to what had no connection may be of one. */
	if (p->answer == ANSWER_REJECT && !p->ct)
		handed = false;
	if (!handed && asks(p, IMG_CONNTRACK) && (r = bt_ct_in(skb)))
		return drop_for(skb, p, r);
	bt_addr saddr = p->saddr;
	__u32 mark = p->mark;
	__u8 tos = p->tos;
	if ((a = run_table(skb, p, H_OUT, T_MANGLE)) != BT_NEXT)
		return a;
	/* What raw changed has no part in it. */
	bool moved = p->mark != mark || !addr_eq(p->saddr, saddr) || p->tos != tos || p->flags & P_MOVED;
	bt_addr daddr = p->daddr;
	if ((a = run_nat(skb, p, H_OUT, MANIP_DST)) != BT_NEXT)
		return a;
	moved |= !addr_eq(p->daddr, daddr);
	__u32 ifout = p->ifout;
	if ((a = run_table(skb, p, H_OUT, T_FILTER)) != BT_NEXT || (a = run_table(skb, p, H_OUT, T_SECURITY)) != BT_NEXT)
		return a;
	/* What goes to many goes by the device that it was sent to. */
	if (!moved || to_many(p))
		return BT_NEXT;
	/* Rules of OUTPUT still saw the old device, as in netfilter; POSTROUTING sees the new. */
	if (!reroute_fib(skb, p, ctl, hop))
		return drop_for(skb, p, -STAT_DROP_NO_ROUTE);
	if (p->ifout != ifout && p->img_flags & IMG_IFACE)
		p->class_out = bt_dev_class(skb, p->ifout);
	return BT_NEXT;
}
