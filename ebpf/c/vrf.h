/* SPDX-License-Identifier: GPL-2.0-only */
/* VRFs. The kernel asks netfilter's hooks about a member's packets twice: as the member's and as the VRF's (drivers/net/vrf.c, l3mdev.h). Nothing
 * happens to a packet between both, so the programs of the member ask both; those of the VRF only of what stays in this host. */
#pragma once

#include "kernel_net.h"
#include "own_addr.h"

#define RTN_UNICAST 1
#define VRF_BUCKET 64 /* devices looked at to find one by its index */
#define RTF_LOCAL 0x80000000u
#define INET_HDRINCL (1u << 12) /* INET_FLAGS_HDRINCL */
#define SOCK_RAW 3

struct rtable___vrf {
	__u16 rt_type;
} __attribute__((preserve_access_index));
struct rt6_info___vrf {
	__u32 rt6i_flags;
} __attribute__((preserve_access_index));
struct inet_sock___header {
	unsigned long inet_flags;
} __attribute__((preserve_access_index));

/* Finds the VRF of the packet's device, and what stands for lo. */
static __always_inline void find_vrf(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl)
{
	struct sk_buff___k *k = kernel_skb(skb);
	struct net_device___k *dev = k->dev;

	p->halves = 0;
	p->vrf = 0;
	p->lo = ctl->lo_ifindex;
	if (likely(!has_vrf(dev)))
		return;
	p->vrf = vrf_of((unsigned long)dev);
	if (p->vrf)
		p->lo = p->vrf;
}

/* Whether the packet's device is a VRF's member. */
static __always_inline bool is_member(struct __sk_buff *skb, const struct bt_pkt *p)
{
	return p->vrf && p->vrf != skb->ifindex;
}

static __always_inline bool at_vrf(struct __sk_buff *skb, const struct bt_pkt *p)
{
	return p->vrf && p->vrf == skb->ifindex;
}

/* Whether the packet's device is lo, or the VRF that stands for it: at ingress, this host sent it to itself. */
static __always_inline bool by_loopback(struct __sk_buff *skb, const struct bt_pkt *p)
{
	return skb->ifindex == p->lo;
}

/* skb->ifindex, where it is one of two: else clang makes one load of both, which verifiers refuse. */
static __always_inline __u32 own_index(struct __sk_buff *skb)
{
	__u32 own = skb->ifindex;

	barrier_var(own);
	return own;
}

/* The device on whose link the packet came in. */
static __always_inline __u32 came_by(struct __sk_buff *skb, const struct bt_pkt *p)
{
	__u32 own = own_index(skb), seen = p->ifin;

	return p->vrf && seen == p->vrf ? own : seen;
}

/* Both link addresses of what goes in by lo, or by a VRF (not 0) that stands for it: the device's own, in p->macs. */
static __noinline int loopback_macs(struct __sk_buff *skb, struct bt_pkt *p, __u32 vrf)
{
	struct net_device___k *dev;
	const unsigned char *addr = NULL;

	if (vrf) {
		dev = (void *)device_at(net_of(skb), vrf, VRF_BUCKET);
		addr = BPF_CORE_READ(dev, dev_addr);
	}
	/* (Zeros where nothing can be read, as lo's is.) */
	bpf_probe_read_kernel(p->macs, 6, addr);
	__builtin_memcpy(p->macs + 6, p->macs, 6);
	return 0;
}

/* The device by which a packet to its destination, which is this host's, comes in again: addresses that no VRF has are in the table that is
 * asked before a VRF's. */
static __always_inline __u32 loopback_to(const struct bt_pkt *p, const struct bt_control *ctl)
{
	struct bt_addr_key key = { .len = BT_ADDR_BITS, .addr = p->daddr };
	struct bt_addr_info *at;

	if (likely(!p->vrf))
		return p->lo;
	at = bpf_map_lookup_elem(&bt_addrs, &key);
	return at && at->kind == RTN_LOCAL ? ctl->lo_ifindex : p->vrf;
}

/* At egress: whether the packet stays in this host. */
static __always_inline bool stays(const struct bt_pkt *p, const struct bt_control *ctl)
{
	return p->ifout == p->lo || p->ifout == ctl->lo_ifindex;
}

/* Neighbour discovery, which belongs to the member alone. */
static __always_inline bool is_nd(const struct bt_pkt *p)
{
	return BT_FAMILY == 6 && p->proto == BT_ICMP && p->icmp_type >= 133 && p->icmp_type <= 137;
}

/* An address that means something on one link only (rt6_need_strict), or IPv4's groups. */
static __always_inline bool on_one_link(bt_addr addr)
{
#if BT_FAMILY == 6
	return addr_is_multicast(addr) || addr_is_link_local(addr) || addr_is_loopback(addr);
#else
	return addr_is_multicast(addr);
#endif
}

/* At a member's ingress: whether PREROUTING is asked once more, as of the VRF's. */
static __always_inline bool asked_once_more(struct __sk_buff *skb, const struct bt_pkt *p)
{
	return skb->pkt_type != PACKET_LOOPBACK && (!on_one_link(p->daddr) || is_nd(p));
}

#if BT_FAMILY == 4
/* Whether a socket's program made the IPv4 header itself (raw_send_hdrinc; rawv6_send_hdrinc goes by the VRF as others do). */
static __always_inline bool own_header(struct __sk_buff *skb)
{
	struct sk_buff___sent *k = kernel_skb(skb);
	unsigned long at = (unsigned long)k->sk;
	struct sock *sk = kernel_object(at, bpf_core_type_id_kernel(struct sock));
	struct inet_sock___header *inet = kernel_object(at, bpf_core_type_id_kernel(struct inet_sock___header));

	return at && sk->sk_type == SOCK_RAW && inet->inet_flags & INET_HDRINCL;
}
#endif

/* At a member's egress, of what this host sends: whether OUTPUT and POSTROUTING are asked as of the VRF's before. */
static __always_inline bool two_halves(struct __sk_buff *skb, const struct bt_pkt *p)
{
#if BT_FAMILY == 6
	return !on_one_link(p->daddr) && !is_nd(p);
#else
	return !on_one_link(p->daddr) && p->daddr != 0xffffffff && (p->answer != ANSWER_NONE || !own_header(skb));
#endif
}

/* Whether the packet's route leads to one other host. At a VRF's egress: it only passes the VRF's queue, on its way to a member. */
static __always_inline bool passes_vrf(struct __sk_buff *skb)
{
	struct sk_buff___sent *k = kernel_skb(skb);
	unsigned long at = k->_skb_refdst & SKB_DST_PTRMASK;

#if BT_FAMILY == 6
	struct rt6_info___vrf *rt = kernel_object(at, bpf_core_type_id_kernel(struct rt6_info___vrf));
	return !(rt->rt6i_flags & RTF_LOCAL);
#else
	struct rtable___vrf *rt = kernel_object(at, bpf_core_type_id_kernel(struct rtable___vrf));
	return rt->rt_type == RTN_UNICAST;
#endif
}
