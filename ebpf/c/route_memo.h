/* SPDX-License-Identifier: GPL-2.0-only */
/* What the FIB said lately, for each CPU.
 *
 * The kernel says itself when its cached routes are out of date: `rt_genid` counts each change of routes, addresses, devices and their
 * settings, and its own caches are good while it stands. An answer is kept no longer than that, and no longer than one tick of the clock.
 * It holds for a source and a destination, since a route of several next hops is chosen by both, or for a destination alone where no route
 * by its device has several; where more than that decides (rules of policy routing, a choice by ports), nothing is kept. */
#pragma once

#include "kernel_net.h"

#define ROUTE_MEMO 1024 /* answers of each CPU */
#define TARGETS 256     /* of these, for whatever source */

#define WAYS 16      /* ways out of each CPU */
#define MAX_BUCKET 8 /* devices looked at to find one by its index */
#define FOREIGN 8192 /* sources of others, of all CPUs */

/* Addresses of kernel objects, found to be as host routing asks (host_route.h); 0: not looked at yet. */
struct bt_way {
	__u64 out;       /* the device by which it leaves */
	__u64 pre, post; /* lists of hooks that are the guard alone */
	__u64 egress;    /* our program at `out` */
	__u32 ifout, genid, tick;
	__u32 single; /* enum bt_single */
};

/* Whether all routes by a device have one next hop, so that no source leads elsewhere. */
enum bt_single { SINGLE_UNKNOWN, SINGLE_YES, SINGLE_NO };

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
	return m->daddr == p->daddr && m->saddr == p->saddr && m->ifin == p->ifin && m->tos == (p->tos & INET_DSCP_MASK) &&
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
	m->tos = p->tos & INET_DSCP_MASK;
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
		way->single = SINGLE_UNKNOWN;
		way->ifout = ifout;
		way->genid = m->genid;
		way->tick = m->tick;
	}
	return way;
}

#define MOST_HOPS 32 /* routes' next hops at a device that are looked at */

/* Whether every IPv4 route by the device at `dev` has no other next hop. Linux 6.10; before that nothing is known. */
static __noinline bool single_path(struct net___k *net, unsigned long dev)
{
	struct net_device___k *d = kernel_object(dev, bpf_core_type_id_kernel(struct net_device));
	unsigned long node;

	/* Routes by nexthop objects are not in the device's list. */
	if (!bpf_core_field_exists(struct net_device___k, fib_nh_head) || net->nexthop.rb_root.rb_node)
		return false;
	node = (unsigned long)d->fib_nh_head.first;
	for (__u32 i = 0; i < MOST_HOPS && node; i++) {
		struct fib_nh *hop = kernel_object(node - bpf_core_field_offset(struct fib_nh, nh_hash), bpf_core_type_id_kernel(struct fib_nh));
		struct fib_info *info = kernel_object((unsigned long)hop->nh_parent, bpf_core_type_id_kernel(struct fib_info));
		if (info->fib_nhs != 1)
			return false;
		node = (unsigned long)hop->nh_hash.next;
	}
	return !node;
}

/* Answers that hold for every source. Those by a device are such where all its routes have one next hop; that a packet stays here, or
 * goes nowhere, no source changes. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, TARGETS);
	__type(key, __u32);
	__type(value, struct bt_route_memo);
} bt_targets SEC(".maps");

/* The place of the answer for the packet's destination. */
static __always_inline struct bt_route_memo *target_memo(struct bt_pkt *p)
{
	__u32 at = bt_hash(p->daddr, p->ifin) & (TARGETS - 1);

	return bpf_map_lookup_elem(&bt_targets, &at);
}

/* Whether `to`, in the place of the answer for a packet's destination, is that answer, and as new as `m`. */
static __always_inline bool target_holds(const struct bt_route_memo *to, const struct bt_route_memo *m)
{
	return to->daddr == m->daddr && to->ifin == m->ifin && to->tos == m->tos && to->tick == m->tick && to->genid == m->genid;
}

/* Whether the answer `m`, by device `ifout`, is every source's. */
static __always_inline bool for_every_source(struct net___k *net, struct bt_route_memo *m, __u32 ifout)
{
	struct bt_way *way = way_memo(m, ifout);

	if (!way)
		return false;
	if (way->single == SINGLE_UNKNOWN) {
		if (!way->out)
			way->out = device_at(net, ifout, MAX_BUCKET);
		way->single = way->out && single_path(net, way->out) ? SINGLE_YES : SINGLE_NO;
	}
	return way->single == SINGLE_YES;
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
