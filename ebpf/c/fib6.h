/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the stack routes an IPv6 packet. The FIB refuses to answer for addresses of one link (fe80::/10, multicast): such a
 * destination stays on its link; such a source is left out of the question. */
#pragma once

#include "vrf.h"

/* ROUTE_STRAIGHT: forwarded, by the device and next hop that the FIB names. */
enum bt_route { ROUTE_STACK, ROUTE_LOCAL, ROUTE_FORWARD, ROUTE_STRAIGHT };

/* Asks the FIB for the packet as it is now, as if it had come in by `ifindex`. p->fib is what it says. */
static __noinline int fib(struct __sk_buff *skb, struct bt_pkt *p, __u32 ifindex)
{
	struct bpf_fib_lookup *f = &p->fib;

	__builtin_memset(f, 0, sizeof(*f));
	f->family = BT_AF;
	f->flowinfo = bpf_htonl((__u32)p->tos << 20);
	f->l4_protocol = p->proto;
	f->sport = bpf_htons(p->sport);
	f->dport = bpf_htons(p->dport);
	if (!addr_is_link_local(p->saddr))
		__builtin_memcpy(f->ipv6_src, &p->saddr, 16);
	__builtin_memcpy(f->ipv6_dst, &p->daddr, 16);
	f->ifindex = ifindex;
	/* Any length but none: then the FIB tells the route's MTU, and does not ask whether this packet fits. */
	f->tot_len = 1;
	if (p->mark) {
		/* The mark shares its place with the source MAC address of the answer. */
		__builtin_memcpy(f->smac, &p->mark, 4);
		int r = bpf_fib_lookup(skb, f, sizeof(*f), FIB_SKIP_NEIGH | FIB_MARK);
		if (r != -22) /* EINVAL: Linux before 6.10 does not know the flag */
			return r;
	}
	return bpf_fib_lookup(skb, f, sizeof(*f), FIB_SKIP_NEIGH);
}

/* Where the stack will route a received packet; p->fib is what the FIB says of one that is forwarded. */
static __noinline int route_in(struct __sk_buff *skb, struct net___k *net, struct bt_pkt *p, struct bt_route_memo *memo)
{
	int r;

	if (addr_is_multicast(p->daddr))
		return bt_dev_joined(skb) ? ROUTE_LOCAL : ROUTE_STACK;
	if (addr_is_link_local(p->daddr) || addr_is_loopback(p->daddr) || by_loopback(skb, p))
		return ROUTE_LOCAL;
	switch (r = fib(skb, p, p->ifin)) {
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return ROUTE_STACK;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		/* Local, or no route at all (then the stack drops it after INPUT was asked). */
		return ROUTE_LOCAL;
	}
	/* A device that is just going: it may be for this host. */
	if (r < 0)
		return ROUTE_LOCAL;
	/* It may be for a neighbour that this host stands in for (ip6_forward_proxy_check). If not, it goes on to FORWARD besides. */
	if (is_nd(p) && net->ipv6.devconf_all->proxy_ndp)
		return ROUTE_LOCAL;
	/* The stack does not forward what means something on one link only. */
	if (addr_is_link_local(p->saddr) || addr_is_none(p->saddr))
		return ROUTE_STACK;
	return r == BPF_FIB_LKUP_RET_SUCCESS ? ROUTE_STRAIGHT : ROUTE_FORWARD;
}

static __always_inline int redirect_to(__u32 ifindex, const struct bt_hop *hop)
{
	struct bpf_redir_neigh nh = { .nh_family = BT_AF };

	__builtin_memcpy(nh.ipv6_nh, &hop->to, 16);
	return bpf_redirect_neigh(ifindex, &nh, sizeof(nh), 0);
}

/* The next hop of a packet whose destination, source or mark changed at OUTPUT; p->ifout becomes its device. False: there is no route. */
static __noinline bool reroute_fib(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, struct bt_hop *hop)
{
	hop->to = p->daddr;
	hop->set = true;
	if (addr_is_multicast(p->daddr) || addr_is_link_local(p->daddr))
		return true;
	switch (fib(skb, p, p->lo)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		__builtin_memcpy(&hop->to, p->fib.ipv6_dst, 16);
		p->ifout = p->fib.ifindex;
		return true;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		p->ifout = loopback_to(p, ctl);
		return true;
	}
	return false;
}

/* Whether a packet for this host must come in by lo: the stack takes ::1 from no other device. */
static __always_inline bool by_lo(const struct bt_pkt *p, bool source_changed)
{
	return addr_is_loopback(p->daddr) || (source_changed && addr_is_loopback(p->saddr));
}
