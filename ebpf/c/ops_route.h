/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks of a packet's devices and of its route: devgroup, realm, rpfilter. Include ops_addr.h and
 * ops_packet.h first. */
#pragma once

#include "bt.h"
#include "kernel_net.h"
#include "vrf.h"
#include "ops_arg.h"

#define PKT_LOOPED 5 /* PACKET_LOOPBACK */
#define GROUP_BUCKET 64 /* devices looked at to find one by its index */

struct net_device___group {
	__u32 group;
} __attribute__((preserve_access_index));
struct sk_buff___group {
	struct net_device___group *dev;
} __attribute__((preserve_access_index));

static __always_inline __u32 own_group(struct __sk_buff *skb)
{
	struct sk_buff___group *k = kernel_skb(skb);
	__u32 group = k->dev->group;

	/* Else clang makes one load of this and that of a map's value, which is another kind of pointer to the verifier. */
	barrier_var(group);
	return group;
}

/* The group of the device that a packet comes in by, for where it leaves: there only that device's number is known. */
static __always_inline void group_note(struct __sk_buff *skb, __u32 ifindex)
{
	struct bt_dev_info *d = bpf_map_lookup_elem(&bt_devs, &ifindex);
	__u32 group = own_group(skb);

	if (d && d->group != group)
		d->group = group;
}

/* Likewise that of a bridge, for its port. */
static __always_inline void group_note_of(struct __sk_buff *skb, __u32 ifindex)
{
	struct net_device___group *dev = (void *)device_at(net_of(skb), ifindex, GROUP_BUCKET);
	struct bt_dev_info *d = bpf_map_lookup_elem(&bt_devs, &ifindex);

	if (d && dev)
		d->group = BPF_CORE_READ(dev, group);
}

static __always_inline __u32 group_of(struct __sk_buff *skb, __u32 ifindex)
{
	struct bt_dev_info *d;

	if (ifindex == skb->ifindex)
		return own_group(skb);
	d = bpf_map_lookup_elem(&bt_devs, &ifindex);
	return d ? d->group : 0;
}

/* how >> 16: 1 the way in is asked, 2 not that, 4 the way out, 8 not that; at: line of group and mask of both. */
__noinline int bt_op_devgroup(struct __sk_buff *skb, __u32 how, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 asked = how >> 16;
	void *img = p ? image(p->slot) : NULL;
	struct bt_line *l = img ? line(img, at) : NULL;

	if (!p || !l)
		return -1;
	if (asked & 1 && !((group_of(skb, p->ifin) ^ l->w[0]) & l->w[1]) == !!(asked & 2))
		return 0;
	return !(asked & 4) || !((group_of(skb, p->ifout) ^ l->w[2]) & l->w[3]) != !!(asked & 8);
}

enum rpfilter_how { RP_LOOSE = 1, RP_MARK = 2, RP_LOCAL = 4 };

/* Asks for the way back to the packet's source. `device`: as one that this host sends by it; 0: by any. */
static __always_inline int fib_back(struct __sk_buff *skb, struct bt_pkt *p, struct bpf_fib_lookup *f, __u32 how, __u32 device)
{
	__u32 flags = FIB_SKIP_NEIGH | (device ? BPF_FIB_LOOKUP_OUTPUT : 0);

	__builtin_memset(f, 0, sizeof(*f));
	f->family = BT_AF;
	f->ifindex = device ? device : p->lo;
#if BT_FAMILY == 6
	f->flowinfo = bpf_htonl((__u32)p->tos << 20);
	__builtin_memcpy(f->ipv6_dst, &p->saddr, 16);
	if (!addr_is_multicast(p->daddr) && !addr_is_none(p->daddr) && !addr_is_link_local(p->daddr))
		__builtin_memcpy(f->ipv6_src, &p->daddr, 16);
#else
	__u32 dst = bpf_ntohl(p->daddr);

	f->tos = p->tos & INET_DSCP_MASK;
	f->ipv4_dst = p->saddr;
	if (dst >> 28 != 0xe && dst != 0xffffffff && dst >> 24)
		f->ipv4_src = p->daddr;
#endif
	if (how & RP_MARK && p->mark) {
		__builtin_memcpy(f->smac, &p->mark, 4);
		int r = bpf_fib_lookup(skb, f, sizeof(*f), flags | FIB_MARK);
		if (r != -22) /* EINVAL: Linux before 6.10 does not know the flag */
			return r;
	}
	return bpf_fib_lookup(skb, f, sizeof(*f), flags);
}

/* The device of the local address, 0: it is none. */
static __always_inline __u32 local_device(bt_addr addr)
{
	struct bt_addr_key key = { .len = BT_ADDR_BITS, .addr = addr };
	struct bt_addr_info *at = bpf_map_lookup_elem(&bt_addrs, &key);

	return at && at->kind == RTN_LOCAL ? at->ifindex : 0;
}

/* Whether an answer would leave by the device that the packet came in by. */
static __always_inline bool comes_right(struct __sk_buff *skb, struct bt_pkt *p, __u32 how)
{
	struct bpf_fib_lookup f;
	bool loose = how & RP_LOOSE;
	int r;

	if (by_loopback(skb, p) || skb->pkt_type == PKT_LOOPED)
		return true;
	__u32 local = local_device(p->saddr);
#if BT_FAMILY == 6
	if (addr_is_none(p->saddr))
		return true;
	if (local)
		return how & RP_LOCAL;
	/* What means something on one link is routed there. */
	if (addr_is_link_local(p->saddr))
		return true;
	/* Of several equal ways the one by this device counts; asking for it takes a device that forwards. */
	r = loose ? BPF_FIB_LKUP_RET_FWD_DISABLED : fib_back(skb, p, &f, how, p->ifin);
	if (r == BPF_FIB_LKUP_RET_FWD_DISABLED)
		r = fib_back(skb, p, &f, how, 0);
#else
	__u32 dst = bpf_ntohl(p->daddr);

	if (!(bpf_ntohl(p->saddr) >> 24) && (dst == 0xffffffff || dst >> 8 == 0xe00000))
		return true;
	if (local)
		return how & RP_LOCAL && (local == p->ifin || loose);
	r = fib_back(skb, p, &f, how, 0);
#endif
	if (r != BPF_FIB_LKUP_RET_SUCCESS && r != BPF_FIB_LKUP_RET_NO_NEIGH && r != BPF_FIB_LKUP_RET_FRAG_NEEDED)
		return false;
	/* By any member, to rules that see the VRF as the way in. */
	return loose || f.ifindex == p->ifin || (p->vrf && p->ifin == p->vrf && vrf_of(device_at(net_of(skb), f.ifindex, GROUP_BUCKET)) == p->vrf);
}

__noinline int bt_op_rpfilter(struct __sk_buff *skb, __u32 how)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();

	if (!p)
		return -1;
	return comes_right(skb, p, how >> 16) != !!(how & OPF_INVERT);
}
