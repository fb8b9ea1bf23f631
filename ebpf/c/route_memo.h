/* SPDX-License-Identifier: GPL-2.0-only */
/* What the FIB said lately, for each CPU.
 *
 * The kernel says itself when its cached routes are out of date: `rt_genid` counts each change of routes, addresses, devices and their
 * settings, and its own caches are good while it stands. An answer is kept no longer than that, and no longer than one tick of the clock.
 * It holds for a source and a destination, since a route of several next hops is chosen by both; where more than that decides (rules of
 * policy routing, a choice by ports), nothing is kept. */
#pragma once

#include "kernel_net.h"

#define ROUTE_MEMO 1024 /* answers of each CPU */

/* Addresses of kernel objects, found to be as host routing asks (host_route.h); 0: not looked at yet. */
struct bt_way {
	__u64 out;       /* the device by which it leaves */
	__u64 pre, post; /* lists of hooks that are the guard alone */
	__u64 egress;    /* our program at `out` */
};

struct bt_route_memo {
	bt_addr saddr, daddr;
	__u32 ifin;
	__u32 genid, tick;
	__u8 tos, route; /* bt_route */
	__u8 back;       /* enum bt_back */
	__u8 pad;
	/* Of ROUTE_STRAIGHT. */
	__u32 ifout, hop, mtu;
	struct bt_way way;
};

/* Whether the source's route leads back to the device that the packet came in by. */
enum bt_back { BACK_UNKNOWN, BACK_OK, BACK_ELSEWHERE };

#if BT_FAMILY == 6
/* Of IPv6 nothing is kept: its counter is not to be had as easily. */
static __always_inline struct bt_route_memo *route_memo(struct net___k *net, struct bt_pkt *p)
{
	return NULL;
}
#else
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ROUTE_MEMO);
	__type(key, __u32);
	__type(value, struct bt_route_memo);
} bt_route_memos SEC(".maps");

/* The place of this packet's answer, which may be another's; NULL: nothing is kept here. */
static __always_inline struct bt_route_memo *route_memo(struct net___k *net, struct bt_pkt *p)
{
	__u32 at = bt_hash(addr_pair(p->saddr, p->daddr), p->ifin) & (ROUTE_MEMO - 1);

	if (!bpf_core_field_exists(struct netns_ipv4, fib_has_custom_rules) || net->ipv4.fib_has_custom_rules)
		return NULL;
	if (bpf_core_field_exists(struct netns_ipv4, sysctl_fib_multipath_hash_policy) && net->ipv4.sysctl_fib_multipath_hash_policy)
		return NULL;
	return bpf_map_lookup_elem(&bt_route_memos, &at);
}

/* Whether the answer is this packet's, and good still. */
static __always_inline bool memo_holds(struct net___k *net, struct bt_pkt *p, struct bt_route_memo *m)
{
	return m->daddr == p->daddr && m->saddr == p->saddr && m->ifin == p->ifin && m->tos == (p->tos & 0x1c) &&
	       m->tick == (__u32)bpf_jiffies64() && m->genid == net->ipv4.rt_genid.counter;
}

/* Begins a new answer. Before the FIB is asked: what changes after that makes it out of date. */
static __always_inline void memo_begin(struct net___k *net, struct bt_pkt *p, struct bt_route_memo *m)
{
	m->genid = net->ipv4.rt_genid.counter;
	m->tick = bpf_jiffies64();
	m->saddr = p->saddr;
	m->daddr = p->daddr;
	m->ifin = p->ifin;
	m->tos = p->tos & 0x1c;
	m->back = BACK_UNKNOWN;
	__builtin_memset(&m->way, 0, sizeof(m->way));
}
#endif
