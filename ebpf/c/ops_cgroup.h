/* SPDX-License-Identifier: GPL-2.0-only */
/* -m cgroup: the group of processes that a packet's socket is of. At OUTPUT and POSTROUTING that is the socket that sends it, at INPUT the
 * one that netfilter's hook finds on it there. */
#pragma once

#include "bt.h"
#include "kernel_load.h"
#include "ops_arg.h"
#include "ops_packet.h"
#include "socket.h"

struct kernfs_node___own {
	__u64 id;
} __attribute__((preserve_access_index));
struct cgroup {
	int level;
	struct kernfs_node___own *kn;
	struct cgroup *ancestors[];
} __attribute__((preserve_access_index));
struct cgroup_data___own {
	struct cgroup *cgroup;
	__u32 classid;
} __attribute__((preserve_access_index));
struct sock___cgroup {
	struct sock_common___own __sk_common;
	struct cgroup_data___own sk_cgrp_data;
} __attribute__((preserve_access_index));

#define ROOT_CGROUP 1

struct udp_hslot {
	int count;
} __attribute__((preserve_access_index));
struct udp_hslot_main {
	__u32 hash4_cnt;
} __attribute__((preserve_access_index));
struct udp_table {
	void *hash2;
	unsigned int mask;
} __attribute__((preserve_access_index));
struct netns_ipv4___early {
	struct udp_table *udp_table;
	__u8 sysctl_ip_early_demux, sysctl_tcp_early_demux, sysctl_udp_early_demux;
} __attribute__((preserve_access_index));
struct net___early {
	struct netns_ipv4___early ipv4;
} __attribute__((preserve_access_index));
struct hlist_node___early {
	void *pprev;
} __attribute__((preserve_access_index));
struct sock_common___early {
	struct hlist_node___early skc_portaddr_node;
} __attribute__((preserve_access_index));
struct sock___early {
	struct sock_common___early __sk_common;
} __attribute__((preserve_access_index));

/* Whether the packet is an ICMP error of REJECT: it has the kernel's own socket, in the root of groups and of no class. */
static __always_inline bool answer_of_stack(void)
{
	struct bt_pkt *p = pkt();

	return p && p->hook >= H_FWD && p->answer == ANSWER_REJECT && p->proto != IPPROTO_TCP;
}

/* Address of the socket that sends the packet, as far as it is a full one of this namespace; else 0. */
static __always_inline unsigned long full_socket(struct __sk_buff *skb)
{
	struct sk_buff___own *k = kernel_skb(skb);
	struct net *net = k->dev->nd_net.net;
	unsigned long at = (unsigned long)k->sk;
	struct bt_pkt *p = pkt();

	/* What REJECT answers with still has the socket of whom it answers. */
	if (p && p->hook >= H_FWD && p->answer)
		return 0;
	barrier_var(at);
	if (!at)
		return 0;
	struct sock___cgroup *sk = kernel_object(at, bpf_core_type_id_kernel(struct sock));
	__u8 state = sk->__sk_common.skc_state;
	if (state == STATE_TIME_WAIT || state == STATE_NEW_SYN_RECV || sk->__sk_common.skc_net.net != net)
		return 0;
	return at;
}

/* Whether the stack looks no further than at this socket for one with a packet's addresses: UDP's that is the first of those with its own
 * address and port. */
static __always_inline bool udp_first(struct net___early *net, unsigned long at)
{
	struct sock___early *sk = kernel_object(at, bpf_core_type_id_kernel(struct sock));
	struct udp_table *table = net->ipv4.udp_table;
	__u64 before = (__u64)sk->__sk_common.skc_portaddr_node.pprev;
	/* Likewise as a number: the verifier reckons with no pointers. */
	__u64 from = k64((unsigned long)table + bpf_core_field_offset(struct udp_table, hash2));
	__u64 slots = (__u64)table->mask + 1, size = bpf_core_type_size(struct udp_hslot);

	/* From 6.13 on a slot has a number of 32 bits more, and is aligned to 16 bytes. (The loader asks no size of a type that there is not.) */
	if (bpf_core_type_exists(struct udp_hslot_main))
		size = (size + sizeof(__u32) + 15) & ~15ull;
	return before >= from && before < from + slots * size;
}

/* The socket that netfilter finds on a packet at INPUT: the one that TPROXY gave it, or the connected one that the stack looked up before it
 * routed the packet (early demux). NULL: none, or none with whom processes have to do. To be released. */
static __always_inline struct bpf_sock *input_socket(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct net___early *net = (void *)net_of(skb);
	struct sk_buff___k *k = kernel_skb(skb);
	struct bpf_sock_tuple t;
	struct bpf_sock *sk;
	bool tcp = p->proto == IPPROTO_TCP;
	__u32 state;

	/* What has a route came by lo. */
	if (skb->pkt_type != PACKET_HOST || k->_skb_refdst || p->frag_off || p->flags & (P_MORE | P_TRUNC | P_BAD_EXT) ||
	    !(p->flags & P_PORTS) || (!tcp && p->proto != IPPROTO_UDP) || !net->ipv4.sysctl_ip_early_demux)
		return NULL;
	if (tcp ? !net->ipv4.sysctl_tcp_early_demux : !net->ipv4.sysctl_udp_early_demux)
		return NULL;
	tuple_set(&t, p->saddr, bpf_htons(p->sport), p->daddr, bpf_htons(p->dport));
	sk = tproxy_find(skb, p, &t);
	if (!sk)
		return NULL;
	state = sock_state((unsigned long)sk);
	if (tcp ? state != SOCK_LISTEN && state != SOCK_TIME_WAIT && state != SOCK_NEW_SYN_RECV :
		  state == SOCK_ESTABLISHED && udp_first(net, (unsigned long)sk))
		return sk;
	bpf_sk_release(sk);
	return NULL;
}

struct cgroup_walk {
	unsigned long ancestors;
	__u64 id;
	__u32 levels;
	bool found;
};

static long cgroup_step(__u32 n, struct cgroup_walk *w)
{
	unsigned long at = 0;

	if (n >= w->levels || bpf_probe_read_kernel(&at, sizeof(at), (void *)(w->ancestors + n * sizeof(at))) || !at)
		return 1;
	struct cgroup *group = kernel_object(at, bpf_core_type_id_kernel(struct cgroup));
	w->found = group->kn->id == w->id;
	return w->found;
}

#define CGROUP_LEVELS 1024

/* Whether the group with this number is the socket's, or one above it. */
static __always_inline int in_cgroup(unsigned long at, __u64 id, __u32 how)
{
	struct sock___cgroup *sk = kernel_object(at, bpf_core_type_id_kernel(struct sock));
	struct cgroup_walk w = { .id = id };

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	struct cgroup *group = sk->sk_cgrp_data.cgroup;
	if (group) {
		w.levels = group->level + 1;
		w.ancestors = (unsigned long)group + bpf_core_field_offset(struct cgroup, ancestors);
		bpf_loop(CGROUP_LEVELS, cgroup_step, &w, 0);
	}
	return w.found != !!(how & OPF_INVERT);
}

/* Whether the socket is of this class. */
static __always_inline int of_class(unsigned long at, __u32 class, __u32 how)
{
	struct sock___cgroup *sk = kernel_object(at, bpf_core_type_id_kernel(struct sock));
	__u32 has = bpf_core_field_exists(sk->sk_cgrp_data.classid) ? sk->sk_cgrp_data.classid : 0;

	return (has == class) != !!(how & OPF_INVERT);
}

/* Address of the socket that netfilter finds on the packet, 0: none. `*ref`, if any, is to be released. */
static __always_inline unsigned long asked_socket(struct __sk_buff *skb, struct bt_pkt *p, struct bpf_sock **ref)
{
	if (p->hook != H_IN)
		return full_socket(skb);
	if (p->assigned) {
		struct sk_buff___sk *k = kernel_skb(skb);
		unsigned long at = (unsigned long)k->sk;

		barrier_var(at);
		return at;
	}
	*ref = input_socket(skb, p);
	return (unsigned long)*ref;
}

/* `what`: the number of a group, or else a class. */
static __always_inline int cgroup_check(struct __sk_buff *skb, __u32 how, bool group, __u64 what)
{
	struct bpf_sock *ref = NULL;
	struct bt_pkt *p = pkt();
	unsigned long at;
	int r = 0;

	if (!p)
		return -1;
	if (answer_of_stack())
		return (what == (group ? ROOT_CGROUP : 0)) != !!(how & OPF_INVERT);
	at = asked_socket(skb, p, &ref);
	if (at)
		r = group ? in_cgroup(at, what, how) : of_class(at, what, how);
	if (ref)
		bpf_sk_release(ref);
	return r;
}

__noinline int bt_op_cgroup_path(struct __sk_buff *skb, __u32 how, __u32 lo, __u32 hi)
{
	keep_arg(skb);
	return cgroup_check(skb, how, true, (__u64)hi << 32 | lo);
}

__noinline int bt_op_cgroup(struct __sk_buff *skb, __u32 how, __u32 class)
{
	keep_arg(skb);
	return cgroup_check(skb, how, false, class);
}
