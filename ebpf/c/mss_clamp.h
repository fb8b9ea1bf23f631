/* SPDX-License-Identifier: GPL-2.0-only */
/* What TCPMSS --clamp-mss-to-pmtu goes by: the smaller MTU of the packet's route and of the way back to its source.
 *
 * Its route is with the packet where it leaves, and is read there. The way back is asked of the FIB, which tells its MTU but for one that the
 * route has of its own without locking it; so what a packet to there met is remembered. */
#pragma once

#include "bt.h"
#include "kernel_net.h"

#define MSS_CLAMP (1u << 16)
#define MTU_BUCKET 64 /* devices looked at to find one by its index */
#define RTAX_MTU_AT 1
#if BT_FAMILY == 6
#define CLAMP_HEADERS 60
#define MTU_MAX (0xffff + 40)
#else
#define CLAMP_HEADERS 40
#define MTU_MAX 0xffff
#endif

struct dst_metrics {
	__u32 metrics[17];
} __attribute__((preserve_access_index));
struct devconf___mtu {
	__s32 mtu6;
} __attribute__((preserve_access_index));
struct inet6_dev___mtu {
	struct devconf___mtu cnf;
} __attribute__((preserve_access_index));
struct inet6_dev;
struct net_device___mtu {
	unsigned int mtu;
	struct inet6_dev___mtu *ip6_ptr;
} __attribute__((preserve_access_index));
struct dst_entry___mtu {
	struct net_device___mtu *dev;
	unsigned long _metrics;
	unsigned long expires;
} __attribute__((preserve_access_index));
struct rtable {
	__u32 rt_mtu_locked : 1;
	__u32 rt_pmtu : 31;
	__u8 rt_uses_gateway;
} __attribute__((preserve_access_index));
struct sk_buff___route {
	unsigned long _skb_refdst;
} __attribute__((preserve_access_index));

/* MTUs that routes have of their own, by destination. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, bt_addr);
	__type(value, __u32);
} bt_mtus SEC(".maps");

/* That of the bridge by which a packet passes from port to port: br_netfilter's route for it has no other. */
static __always_inline __u32 bridge_mtu(struct __sk_buff *skb, __u32 bridge)
{
	struct net_device___mtu *dev = (void *)device_at(net_of(skb), bridge, MTU_BUCKET);

	return dev ? BPF_CORE_READ(dev, mtu) : 0;
}

/* The MTU that the route of a packet on its way out has, as dst_mtu() says; `own`: not its device's. 0: it has no route. */
static __always_inline __u32 route_mtu(struct __sk_buff *skb, struct bt_pkt *p, bool *own)
{
	struct sk_buff___route *k = kernel_skb(skb);
	unsigned long at = k->_skb_refdst & SKB_DST_PTRMASK;

	*own = true;
	barrier_var(at);
	if (!at) {
		*own = false;
		return p->ifout != skb->ifindex ? bridge_mtu(skb, p->ifout) : 0;
	}
	struct dst_entry___mtu *dst = kernel_object(at, bpf_core_type_id_kernel(struct dst_entry));
	__u32 mtu = 0;
#if BT_FAMILY == 4
	struct rtable *rt = kernel_object(at, bpf_core_type_id_kernel(struct rtable));

	mtu = BPF_CORE_READ_BITFIELD(rt, rt_pmtu);
	if (mtu && (__s64)(bpf_jiffies64() - dst->expires) < 0)
		return mtu < MTU_MAX ? mtu : MTU_MAX;
#endif
	/* The lowest bits tell whether the metrics are shared. */
	struct dst_metrics *m = kernel_object(dst->_metrics & ~3ul, bpf_core_type_id_kernel(struct dst_metrics));
	mtu = m->metrics[RTAX_MTU_AT];
	if (!mtu) {
		*own = false;
#if BT_FAMILY == 6
		struct inet6_dev___mtu *in6 = dst->dev->ip6_ptr;
		mtu = in6->cnf.mtu6;
		if (!mtu)
			mtu = 1280;
#else
		mtu = dst->dev->mtu;
		if (BPF_CORE_READ_BITFIELD(rt, rt_mtu_locked) && rt->rt_uses_gateway && mtu > 576)
			mtu = 576;
#endif
	}
	return mtu < MTU_MAX ? mtu : MTU_MAX;
}

/* The smaller MTU of both ways. */
static __noinline __u32 path_mtu(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct bpf_fib_lookup f = { .family = BT_AF, .tot_len = 1, .ifindex = p->lo };
	bool own;
	__u32 mtu = route_mtu(skb, p, &own), *known;

	if (own)
		bpf_map_update_elem(&bt_mtus, &p->daddr, &mtu, BPF_ANY);
	else
		bpf_map_delete_elem(&bt_mtus, &p->daddr);
	known = bpf_map_lookup_elem(&bt_mtus, &p->saddr);
	if (known && *known < mtu)
		mtu = *known;

#if BT_FAMILY == 6
	__builtin_memcpy(f.ipv6_dst, &p->saddr, 16);
#else
	f.ipv4_dst = p->saddr;
#endif
	switch (bpf_fib_lookup(skb, &f, sizeof(f), FIB_SKIP_NEIGH)) {
	case BPF_FIB_LKUP_RET_SUCCESS:
	case BPF_FIB_LKUP_RET_NO_NEIGH:
	case BPF_FIB_LKUP_RET_FRAG_NEEDED:
		return f.mtu_result < mtu ? f.mtu_result : mtu;
	}
	return mtu;
}
