/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the stack routes an IPv4 packet. */
#pragma once

#include "vrf.h"

/* ROUTE_STRAIGHT: forwarded, by the device and next hop that the FIB names. */
enum bt_route { ROUTE_STACK, ROUTE_LOCAL, ROUTE_FORWARD, ROUTE_STRAIGHT };

/* Asks the FIB for the packet as it is now, as if it had come in by `ifindex`. p->fib is what it says. */
static __always_inline int fib(struct __sk_buff *skb, struct bt_pkt *p, __u32 ifindex)
{
	struct bpf_fib_lookup *f = &p->fib;

	__builtin_memset(f, 0, sizeof(*f));
	f->family = BT_AF;
	f->tos = p->tos & INET_DSCP_MASK;
	f->l4_protocol = p->proto;
	f->sport = bpf_htons(p->sport);
	f->dport = bpf_htons(p->dport);
	f->ipv4_src = p->saddr;
	f->ipv4_dst = p->daddr;
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

/* What the stack does with a received packet of which the FIB says `answer`. */
static __always_inline enum bt_route route_of(int answer)
{
	/* A device that is just going: it may be for this host. */
	if (answer < 0)
		return ROUTE_LOCAL;
	switch (answer) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		return ROUTE_STRAIGHT;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return ROUTE_STACK;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
	case BPF_FIB_LKUP_RET_FWD_DISABLED:
		/* Local, broadcast, or no route at all (then the stack drops it after INPUT was asked). */
		return ROUTE_LOCAL;
	}
	return ROUTE_FORWARD;
}

/* Where the stack will route a received packet; p->fib is what the FIB says of one that goes straight on. `memo`, if any, is this packet's
 * afterwards. */
static __always_inline int route_in(struct __sk_buff *skb, struct net___k *net, struct bt_pkt *p, struct bt_route_memo *memo)
{
	struct bpf_fib_lookup *f = &p->fib;
	__u32 dst = bpf_ntohl(p->daddr);
	struct bt_route_memo *target;
	int route;

	if (dst >> 28 == 0xe || dst == 0xffffffff || by_loopback(skb, p))
		return ROUTE_LOCAL;
	if (!memo)
		return route_of(fib(skb, p, p->ifin));
	if (!memo_holds(net, p, memo)) {
		memo_begin(net, p, memo);
		target = target_memo(p);
		if (!target || !target_holds(target, memo)) {
			route = route_of(fib(skb, p, p->ifin));
			memo->route = route;
			memo->ifout = f->ifindex;
			memo->hop = f->ipv4_dst;
			memo->mtu = f->mtu_result;
			if (f->family != BT_AF)
				memo->tick--; /* by an IPv6 router, for which there is no room */
			else if (target && (route == ROUTE_LOCAL || (route == ROUTE_STRAIGHT && for_every_source(net, memo, f->ifindex))))
				*target = *memo;
			return route;
		}
		memo->route = target->route;
		memo->ifout = target->ifout;
		memo->hop = target->hop;
		memo->mtu = target->mtu;
	}
	f->family = BT_AF;
	f->ifindex = memo->ifout;
	f->ipv4_dst = memo->hop;
	f->mtu_result = memo->mtu;
	return memo->route;
}

static __always_inline int redirect_to(__u32 ifindex, const struct bt_hop *hop)
{
	struct bpf_redir_neigh nh = { .nh_family = BT_AF, .ipv4_nh = hop->to };

	return bpf_redirect_neigh(ifindex, &nh, sizeof(nh), 0);
}

/* The next hop of a packet whose destination, source or mark changed at OUTPUT; p->ifout becomes its device. False: there is no route. */
static __noinline bool reroute_fib(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, struct bt_hop *hop)
{
	hop->to = p->daddr;
	hop->set = true;
	switch (fib(skb, p, p->lo)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		hop->to = p->fib.ipv4_dst;
		p->ifout = p->fib.ifindex;
		return true;
	case BPF_FIB_LKUP_RET_NOT_FWDED:
		p->ifout = loopback_to(p, ctl);
		return true;
	}
	return false;
}

/* Whether a packet for this host must come in by lo. netfilter changes the source after the route was found. Here the route is still to
 * be found, and would call the new source a martian or fail the reverse-path check: lo's checks are off. */
static __always_inline bool by_lo(const struct bt_pkt *p, bool source_changed)
{
	return source_changed;
}
