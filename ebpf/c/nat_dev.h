/* SPDX-License-Identifier: GPL-2.0-only */
/* Addresses of devices, read where the kernel keeps them, so that no mirror of them can be stale. */
#pragma once

#include "ct_table.h"
#include "kernel_net.h"
#include "vrf.h"

struct in_ifaddr___ct {
	struct in_ifaddr___ct *ifa_next;
	__u32 ifa_local, ifa_mask, ifa_flags;
	__u8 ifa_scope;
} __attribute__((preserve_access_index));
struct in_device___ct {
	struct in_ifaddr___ct *ifa_list;
} __attribute__((preserve_access_index));
struct inet6_dev___ct;
struct net_device___ct {
	int ifindex;
	struct in_device___ct *ip_ptr;
	struct inet6_dev___ct *ip6_ptr;
} __attribute__((preserve_access_index));
struct dst_entry___ct {
	struct net_device___ct *dev;
	__u16 flags;
} __attribute__((preserve_access_index));
struct rtable___ct {
	struct dst_entry___ct dst;
	__u8 rt_gw_family;
	__u32 rt_gw4;
} __attribute__((preserve_access_index));
struct sk_buff___nat {
	struct net_device___ct *dev;
	unsigned long _skb_refdst;
} __attribute__((preserve_access_index));

#define IFA_SECONDARY 1
#define DST_METADATA_FLAG 0x80
#define MAX_DEV_ADDRS 64
#define MAX_DEV_BUCKET 512
#define MAX_DEVICES 4096

/* The device with this index in the skb's namespace: its own, or another that the packet is about to be sent to. */
static __always_inline struct net_device___ct *dev_of(struct __sk_buff *skb, __u32 ifindex)
{
	return (void *)device_at(net_of(skb), ifindex, MAX_DEV_BUCKET);
}

/* The device that rules see the packet come in by: its own, or at a port the bridge. */
static __always_inline struct net_device___ct *dev_in(struct __sk_buff *skb)
{
	struct sk_buff___nat *k = (void *)skb;
	struct bt_pkt *p = pkt();

	if (p && p->ifin && p->ifin != skb->ifindex)
		return dev_of(skb, p->ifin);
	return BPF_CORE_READ(k, dev);
}

#if BT_FAMILY == 6
#include "nat_dev6.h"
#else
/* The first address of the device that the packet came by, 0 if it has none: REDIRECT's. */
__noinline __u32 bt_nat_dev_first(struct __sk_buff *skb)
{
	struct net_device___ct *dev = dev_in(skb);
	struct in_ifaddr___ct *ifa = dev ? BPF_CORE_READ(dev, ip_ptr, ifa_list) : NULL;

	return ifa ? BPF_CORE_READ(ifa, ifa_local) : 0;
}

static __always_inline bt_addr nat_redirect(struct __sk_buff *skb)
{
	return bt_nat_dev_first(skb);
}

/* TPROXY's. */
static __always_inline bt_addr tproxy_addr(struct __sk_buff *skb)
{
	return bt_nat_dev_first(skb);
}

struct list_head___nat {
	struct list_head___nat *next;
} __attribute__((preserve_access_index));
struct net___nat {
	struct list_head___nat dev_base_head;
} __attribute__((preserve_access_index));
struct net_device___nat {
	struct list_head___nat dev_list;
	struct in_device___ct *ip_ptr;
} __attribute__((preserve_access_index));

struct nat_walk {
	unsigned long at, head;
	__u32 vrf, addr;
};

/* The address that a device lends to those that have none; 0: it has none itself. */
static __noinline __u32 lent_by(unsigned long at)
{
	struct net_device___nat *dev = (void *)at;
	struct in_ifaddr___ct *ifa = BPF_CORE_READ(dev, ip_ptr, ifa_list);

	for (int n = 0; n < MAX_DEV_ADDRS && ifa; n++) {
		if (!(BPF_CORE_READ(ifa, ifa_flags) & IFA_SECONDARY) && BPF_CORE_READ(ifa, ifa_scope) == 0)
			return BPF_CORE_READ(ifa, ifa_local);
		ifa = BPF_CORE_READ(ifa, ifa_next);
	}
	return 0;
}

/* Looks at one device of the namespace. */
static long nat_lends(__u32 i, void *data)
{
	struct nat_walk *w = data;
	struct net_device___nat *dev;

	if (!w->at || w->at == w->head)
		return 1;
	dev = (void *)(w->at - bpf_core_field_offset(struct net_device___nat, dev_list));
	if (vrf_of((unsigned long)dev) == w->vrf)
		w->addr = lent_by((unsigned long)dev);
	if (w->addr)
		return 1;
	w->at = (unsigned long)BPF_CORE_READ(dev, dev_list.next);
	return 0;
}

/* A device without an address borrows one of the first device that has one, whatever the way out: of its VRF first, then of this VRF's
 * members, and where there is none, of devices that have none either (inet_select_addr). */
__noinline __u32 bt_nat_lent(struct __sk_buff *skb)
{
	struct net___nat *net = (void *)net_of(skb);
	struct bt_pkt *p = pkt();
	struct nat_walk w = {};

	if (p && p->ifout)
		w.vrf = vrf_of((unsigned long)dev_of(skb, p->ifout));
	if (w.vrf)
		w.addr = lent_by((unsigned long)dev_of(skb, w.vrf));
	if (w.addr)
		return w.addr;
	w.head = (unsigned long)net + bpf_core_field_offset(struct net___nat, dev_base_head);
	w.at = (unsigned long)BPF_CORE_READ(net, dev_base_head.next);
	bpf_loop(MAX_DEVICES, nat_lends, &w, 0);
	return w.addr;
}

struct masq_walk {
	struct in_ifaddr___ct *ifa;
	__u32 hop, addr;
};

static long masq_step(__u32 i, void *data)
{
	struct masq_walk *w = data;
	struct in_ifaddr___ct *ifa = w->ifa;
	__u32 local;

	if (!ifa)
		return 1;
	if (!(BPF_CORE_READ(ifa, ifa_flags) & IFA_SECONDARY) && BPF_CORE_READ(ifa, ifa_scope) == 0) {
		local = BPF_CORE_READ(ifa, ifa_local);
		if (!((local ^ w->hop) & BPF_CORE_READ(ifa, ifa_mask))) {
			w->addr = local;
			return 1;
		}
		if (!w->addr)
			w->addr = local;
	}
	w->ifa = BPF_CORE_READ(ifa, ifa_next);
	return 0;
}

/* MASQUERADE's address: of the out device, a primary one of global scope, one whose network holds the next hop if there is one. */
__noinline __u32 bt_nat_masq(struct __sk_buff *skb)
{
	struct sk_buff___nat *k = (void *)skb;
	struct net_device___ct *dev;
	struct bpf_fib_lookup fib = {};
	struct masq_walk w = {};
	struct rtable___ct *rt;
	struct bt_pkt *p = pkt();
	__u32 r;

	if (!p)
		return 0;
	dev = dev_of(skb, p->ifout);
	if (!dev)
		return 0;
	w.hop = p->daddr;
	rt = (void *)(BPF_CORE_READ(k, _skb_refdst) & ~1UL);
	if (rt && BPF_CORE_READ(rt, dst.dev) == dev && !(BPF_CORE_READ(rt, dst.flags) & DST_METADATA_FLAG)) {
		if (BPF_CORE_READ(rt, rt_gw_family) == 2)
			w.hop = BPF_CORE_READ(rt, rt_gw4);
	} else {
		fib.family = 2;
		fib.ipv4_dst = p->daddr;
		fib.ifindex = p->ifout;
		r = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SKIP_NEIGH);
		if (r == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex == p->ifout)
			w.hop = fib.ipv4_dst;
	}
	w.ifa = BPF_CORE_READ(dev, ip_ptr, ifa_list);
	bpf_loop(MAX_DEV_ADDRS, masq_step, &w, 0);
	return w.addr ? w.addr : bt_nat_lent(skb);
}

static __always_inline bt_addr nat_masq(struct __sk_buff *skb)
{
	return bt_nat_masq(skb);
}
#endif
