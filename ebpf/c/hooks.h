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

/* Sends a packet to the ingress of `lo`, as one from this host to this host. A VRF that stands for lo takes it where it goes out, finds its
 * route anew and hands it to its own ingress, as what this host sends to itself there. */
static __noinline int to_lo(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, __u32 kind, __u32 lo)
{
	bool by_vrf = lo != ctl->lo_ifindex;

	if (p->l2len && p->l2len != ETH_HLEN)
		return drop_for(skb, p, -STAT_DROP_REWRITE);
	loopback_macs(skb, p, by_vrf ? lo : 0);
	/* What came for many is still that: neither TCP takes it, nor is it answered by an error. */
	if (skb->pkt_type == PACKET_BROADCAST || skb->pkt_type == PACKET_MULTICAST)
		__builtin_memset(p->macs, 0xff, 6);
	store_mark(skb, p);
	if (framed(skb, p) || bpf_skb_store_bytes(skb, 0, p->macs, sizeof(p->macs), 0))
		return drop_for(skb, p, -STAT_DROP_REWRITE);
	if (by_vrf)
		kind = kind == INJ_LO ? INJ_VRF_LO : INJ_VRF_DONE;
	mark_injected(skb, ctl, with_ct(p, kind), p->ct);
	return bpf_redirect(lo, by_vrf ? 0 : BPF_F_INGRESS);
}

/* Whether a packet that has other addresses now than it came in with is one that IPsec might have stopped. What IPsec itself unwrapped, the stack
 * asks about. */
static __always_inline bool stopped_in(struct __sk_buff *skb, struct bt_pkt *p, __u32 dir)
{
	if ((addr_eq(p->saddr, p->came_from) && addr_eq(p->daddr, p->came_to)) || by_loopback(skb, p) || unwrapped(skb))
		return false;
	return ipsec_stops(skb, dir, &p->came_from, &p->came_to, p->mark);
}

/* Whether the packet is for several hosts in a VRF, which would send it out again. (The stack takes it if the reverse path of its new source is
 * not checked.) */
static __always_inline bool to_many_of_vrf(struct __sk_buff *skb, const struct bt_pkt *p)
{
#if BT_FAMILY == 4
	return unlikely(p->vrf) && (on_one_link(p->daddr) || p->daddr == 0xffffffff || bt_dev_addr(skb, p->daddr, p->vrf, 0) == RTN_BROADCAST);
#else
	return false;
#endif
}

/* INPUT, for a packet that the stack will deliver to this host. */
static __always_inline int input(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl)
{
	int a, r;

	p->ifout = 0;
	p->class_out = 0;
	p->came_mark = p->mark;
	p->hook = H_IN;
	if ((a = run_table(skb, p, H_IN, T_MANGLE)) != BT_NEXT || (a = run_table(skb, p, H_IN, T_FILTER)) != BT_NEXT ||
	    (a = run_table(skb, p, H_IN, T_SECURITY)) != BT_NEXT)
		return a;
	p->before_nat = p->saddr;
	p->came_port = p->sport;
	if ((a = run_nat(skb, p, H_IN, MANIP_SRC)) != BT_NEXT)
		return a;
	bool to_be_looped = by_lo(p, !addr_eq(p->saddr, p->before_nat) || p->sport != p->came_port) && !by_loopback(skb, p);
	if (stopped_in(skb, p, IPSEC_IN) || (to_be_looped && unwrapped(skb)))
		return drop_for(skb, p, -STAT_DROP_IPSEC);
	if (p->flags & P_LOCAL && p->ctinfo == CI_RELATED && p->ctdir == DIR_REPLY)
		abandon(skb);
	else if (has_part(IMG_CONNTRACK) && (r = bt_ct_confirm(skb)))
		return drop_for(skb, p, r);
	if (to_be_looped && !to_many_of_vrf(skb, p))
		return to_lo(skb, p, ctl, INJ_DONE, p->lo);
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
static __always_inline bool to_many(struct __sk_buff *skb, const struct bt_pkt *p)
{
#if BT_FAMILY == 6
	return addr_is_multicast(p->daddr);
#else
	/* A VRF's broadcast addresses are not in the local table. */
	if (unlikely(p->vrf) && p->answer == ANSWER_NONE)
		return !passes_vrf(skb) && !by_loopback(skb, p);
	return addr_is(p->daddr, 1 << 3 | 1 << 5, 0); /* RTN_BROADCAST, RTN_MULTICAST */
#endif
}

/* Behind PREROUTING: a member's packet goes on as its VRF's (vrf_ip_rcv, vrf_ip6_rcv), with the connection that it has. Whether PREROUTING is asked
 * once more. */
static __noinline bool by_vrf(struct __sk_buff *skb, struct bt_pkt *p)
{
	p->track = 0;
	see_in(skb, p, p->vrf);
	if (p->img_flags & IMG_GROUPS)
		group_note_of(skb, p->vrf);
	return asked_once_more(skb, p);
}

/* The chains of OUTPUT but raw's, and the new way of what they changed. */
static __always_inline int output_chains(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, struct bt_hop *hop)
{
	bt_addr saddr = p->saddr;
	__u32 mark = p->mark;
	__u8 tos = p->tos;
	int a;

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
	if (!moved || to_many(skb, p))
		return BT_NEXT;
	/* Rules of OUTPUT still saw the old device, as in netfilter; POSTROUTING sees the new. */
	if (!reroute_fib(skb, p, ctl, hop))
		return drop_for(skb, p, -STAT_DROP_NO_ROUTE);
	if (p->ifout != ifout && p->img_flags & IMG_IFACE)
		p->class_out = bt_dev_class(skb, p->ifout);
	return BT_NEXT;
}

/* An ICMP error, which alone nat translates at POSTROUTING of a VRF too (nf_nat_ipv4_fn, nf_nat_ipv6_fn, in_vrf_postrouting). */
static __always_inline bool is_error(const struct bt_pkt *p)
{
	return p->ctinfo == CI_RELATED && p->proto == BT_ICMP;
}

/* OUTPUT and POSTROUTING of the VRF by whose member this host sends, before those of the member (vrf_l3_out). Connections are not looked at:
 * what has none is untracked there. */
static __always_inline int output_by_vrf(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, struct bt_hop *hop)
{
	bool none = p->ctinfo == CI_NONE;
	int a;

	p->halves = 1;
	see_out(skb, p, p->vrf);
	if (none)
		p->ctinfo = CI_UNTRACKED;
	if ((a = run_table(skb, p, H_OUT, T_RAW)) != BT_NEXT || (a = output_chains(skb, p, ctl, hop)) != BT_NEXT)
		return a;
	__u32 own = own_index(skb), member = hop->set ? p->ifout : own;
	see_out(skb, p, p->vrf);
	if ((a = run_table(skb, p, H_POST, T_MANGLE)) != BT_NEXT || (is_error(p) && (a = run_nat(skb, p, H_POST, MANIP_SRC)) != BT_NEXT))
		return a;
	see_out(skb, p, member);
	if (none)
		p->ctinfo = CI_NONE;
	p->track = 0;
	return BT_NEXT;
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
	if (unlikely(is_member(skb, p)) && two_halves(skb, p) && (a = output_by_vrf(skb, p, ctl, hop)) != BT_NEXT)
		return a;
	if ((a = run_table(skb, p, H_OUT, T_RAW)) != BT_NEXT)
		return a;
	p->hook = H_OUT;
	/* An answer to what had no connection may be of one. */
	if (p->answer == ANSWER_REJECT && !p->ct)
		handed = false;
	if (!handed && asks(p, IMG_CONNTRACK) && (r = bt_ct_in(skb)))
		return drop_for(skb, p, r);
	return output_chains(skb, p, ctl, hop);
}
