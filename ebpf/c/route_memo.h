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

#define WAYS 16 /* ways out of each CPU */
#define FOREIGN 8192 /* sources of others, of all CPUs */

/* Addresses of kernel objects, found to be as host routing asks (host_route.h); 0: not looked at yet. */
struct bt_way {
	__u64 out;       /* the device by which it leaves */
	__u64 pre, post; /* lists of hooks that are the guard alone */
	__u64 egress;    /* our program at `out` */
	__u32 ifout, genid, tick, pad;
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
};

/* Whether the source's route leads back to the device that the packet came in by. BACK_FOREIGN: not asked, since the first packet needed
 * no more than a source that is not this host's. */
enum bt_back { BACK_UNKNOWN, BACK_OK, BACK_ELSEWHERE, BACK_FOREIGN };

#if BT_FAMILY == 6
/* Of IPv6 nothing is kept: its counter is not to be had as easily. */
static __always_inline struct bt_route_memo *route_memo(struct net___k *net, struct bt_pkt *p)
{
	return NULL;
}

static __always_inline struct bt_way *way_memo(struct bt_route_memo *m, __u32 ifout)
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
}

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WAYS);
	__type(key, __u32);
	__type(value, struct bt_way);
} bt_ways SEC(".maps");

/* What is known of the way out by `ifout`, for as long as `m` is good. */
static __always_inline struct bt_way *way_memo(struct bt_route_memo *m, __u32 ifout)
{
	__u32 at = ifout & (WAYS - 1);
	struct bt_way *way = bpf_map_lookup_elem(&bt_ways, &at);

	if (way && (way->ifout != ifout || way->genid != m->genid || way->tick != m->tick)) {
		way->out = way->pre = way->post = way->egress = 0;
		way->ifout = ifout;
		way->genid = m->genid;
		way->tick = m->tick;
	}
	return way;
}

/* Sources that the FIB says are not this host's, each with the `rt_genid` at which it was asked, in one word. Every address that a host
 * gets or loses changes that counter, so what is known here is good while it stands. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FOREIGN);
	__type(key, __u32);
	__type(value, __u64);
} bt_foreign SEC(".maps");

static __always_inline __u64 *foreign_memo(__u32 saddr)
{
	/* Neighbours in a network are apart. */
	__u32 at = bpf_ntohl(saddr);

	at = (at ^ at >> 13) & (FOREIGN - 1);
	return bpf_map_lookup_elem(&bt_foreign, &at);
}
#endif
