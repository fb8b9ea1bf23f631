/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv6 addresses of devices, read where the kernel keeps them. Included by nat_dev.h. */
#pragma once

#include "own_addr.h"

struct list_head___ct {
	struct list_head___ct *next;
} __attribute__((preserve_access_index));
struct in6_addr___ct {
	__u32 w[4];
};
struct inet6_ifaddr___ct {
	struct in6_addr___ct addr;
	__u32 flags;
	struct list_head___ct if_list;
} __attribute__((preserve_access_index));
struct ifmcaddr6___ct {
	struct in6_addr___ct mca_addr;
	struct ifmcaddr6___ct *next;
} __attribute__((preserve_access_index));
struct inet6_dev___ct {
	struct list_head___ct addr_list;
	struct ifmcaddr6___ct *mc_list;
} __attribute__((preserve_access_index));

#define IFA_F_DEPRECATED 0x20

enum { ADDR6_REDIRECT, ADDR6_LINK, ADDR6_GLOBAL, ADDR6_TPROXY };

struct addr6_walk {
	struct list_head___ct *head, *at;
	__u32 what, scope;
	bt_addr found;
};

/* Bits of ipv6_addr_type's scope: loopback 1, link 2, site 4, compatible with IPv4 8. Wider ones have none. */
static __always_inline __u32 addr6_scope(bt_addr a)
{
	__u32 first = bpf_ntohl(a.w[0]), group = first >> 16 & 15;

	if (addr_is_multicast(a))
		return group == 1 || group == 2 ? group : group == 5 ? 4 : 0;
	if (addr_is_link_local(a))
		return 2;
	if (first >> 22 == 0xfec0 >> 6)
		return 4;
	if (addr_is_loopback(a))
		return 1;
	return !(a.w[0] | a.w[1] | a.w[2]) && a.w[3] ? 8 : 0;
}

static __always_inline bool addr6_is_mapped(bt_addr a)
{
	return !(a.w[0] | a.w[1]) && a.w[2] == bpf_htonl(0xffff);
}

static long addr6_step(__u32 n, struct addr6_walk *w)
{
	struct inet6_ifaddr___ct *ifa;
	__u32 flags, scope;
	bt_addr a;

	if (!w->at || w->at == w->head)
		return 1;
	ifa = (void *)w->at - bpf_core_field_offset(struct inet6_ifaddr___ct, if_list);
	w->at = BPF_CORE_READ(ifa, if_list.next);
	BPF_CORE_READ_INTO(&a, ifa, addr);
	flags = BPF_CORE_READ(ifa, flags);
	scope = addr6_scope(a);
	if (flags & IFA_F_TENTATIVE && !(flags & IFA_F_OPTIMISTIC))
		return 0;
	if (w->what == ADDR6_REDIRECT && (addr6_is_mapped(a) || (w->scope && !(w->scope & scope))))
		return 0;
	if ((w->what == ADDR6_LINK && scope != 2) || (w->what == ADDR6_GLOBAL && (scope || flags & IFA_F_DEPRECATED)))
		return 0;
	if (w->what == ADDR6_TPROXY && flags & (IFA_F_TENTATIVE | IFA_F_DEPRECATED))
		return 0;
	w->found = a;
	return 1;
}

/* The first fitting address of a device; none: zeros. */
static __always_inline bt_addr dev_addr6(struct net_device___ct *dev, __u32 what, __u32 scope)
{
	struct addr6_walk w = { .what = what, .scope = scope };
	struct inet6_dev___ct *idev = BPF_CORE_READ(dev, ip6_ptr);

	if (!idev)
		return w.found;
	w.head = (void *)idev + bpf_core_field_offset(struct inet6_dev___ct, addr_list);
	w.at = BPF_CORE_READ(idev, addr_list.next);
	bpf_loop(MAX_DEV_ADDRS, addr6_step, &w, 0);
	return w.found;
}

#define MAX_DEV_GROUPS 256

struct group6_walk {
	struct ifmcaddr6___ct *at;
	bt_addr group;
	bool joined;
};

static long group6_step(__u32 n, struct group6_walk *w)
{
	struct ifmcaddr6___ct *mc = w->at;
	bt_addr a;

	if (!mc)
		return 1;
	BPF_CORE_READ_INTO(&a, mc, mca_addr);
	if (addr_eq(a, w->group)) {
		w->joined = true;
		return 1;
	}
	w->at = BPF_CORE_READ(mc, next);
	return 0;
}

/* Whether the skb's device has joined the packet's multicast group: the stack gives it to nobody else. */
__noinline int bt_dev_joined(struct __sk_buff *skb)
{
	struct sk_buff___nat *k = (void *)skb;
	struct inet6_dev___ct *idev = BPF_CORE_READ(k, dev, ip6_ptr);
	struct group6_walk w = {};
	struct bt_pkt *p = pkt();

	if (!p || !idev)
		return 1;
	w.group = p->daddr;
	w.at = BPF_CORE_READ(idev, mc_list);
	bpf_loop(MAX_DEV_GROUPS, group6_step, &w, 0);
	/* More groups than were looked at: it may be one of them. */
	return w.joined || w.at;
}

/* REDIRECT's address into scratch `to`: the first of the device that the packet came by that the destination's scope allows. */
__noinline int bt_nat_dev_first(struct __sk_buff *skb)
{
	struct net_device___ct *dev = dev_in(skb);
	struct bt_ctx *x = ctx_();
	struct bt_pkt *p = pkt();

	if (x && p && dev)
		x->to = dev_addr6(dev, ADDR6_REDIRECT, addr6_scope(p->daddr));
	return 0;
}

/* TPROXY's into scratch `to`: the first that is neither tentative nor deprecated. */
__noinline int bt_nat_dev_proxy(struct __sk_buff *skb)
{
	struct net_device___ct *dev = dev_in(skb);
	struct bt_ctx *x = ctx_();

	if (x && dev)
		x->to = dev_addr6(dev, ADDR6_TPROXY, 0);
	return 0;
}

static __always_inline bt_addr tproxy_addr(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();

	bt_nat_dev_proxy(skb);
	return x ? x->to : ADDR_NONE;
}

/* MASQUERADE's address into scratch `to`: the one that the kernel's source selection takes on the out device. */
__noinline int bt_nat_masq(struct __sk_buff *skb)
{
	struct bpf_fib_lookup fib = {};
	struct net_device___ct *dev;
	struct bt_ctx *x = ctx_();
	struct bt_pkt *p = pkt();
	int r;

	if (!x || !p)
		return 0;
	x->to = ADDR_NONE;
	dev = dev_of(skb, p->ifout);
	if (!dev)
		return 0;
	if (addr_is_link_local(p->daddr)) {
		x->to = dev_addr6(dev, ADDR6_LINK, 0);
		return 0;
	}
	if (p->ifout == p->lo) {
		/* To an address of this host: the same one is preferred to all others. */
		x->to = p->daddr;
		return 0;
	}
	fib.family = BT_AF;
	fib.ifindex = p->ifout;
	__builtin_memcpy(fib.ipv6_dst, &p->daddr, 16);
	r = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT | FIB_SKIP_NEIGH | FIB_SRC);
	if (r == BPF_FIB_LKUP_RET_FWD_DISABLED) {
		/* A device that does not forward is not asked; lo is. */
		__builtin_memset(&fib, 0, sizeof(fib));
		fib.family = BT_AF;
		fib.ifindex = p->lo;
		__builtin_memcpy(fib.ipv6_dst, &p->daddr, 16);
		r = bpf_fib_lookup(skb, &fib, sizeof(fib), FIB_SKIP_NEIGH | FIB_SRC);
	}
	if (r == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex == p->ifout)
		__builtin_memcpy(&x->to, fib.ipv6_src, 16);
	else
		x->to = dev_addr6(dev, ADDR6_GLOBAL, 0);
	return 0;
}

static __always_inline bt_addr nat_redirect(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();

	bt_nat_dev_first(skb);
	return x ? x->to : ADDR_NONE;
}

static __always_inline bt_addr nat_masq(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();

	bt_nat_masq(skb);
	return x ? x->to : ADDR_NONE;
}
