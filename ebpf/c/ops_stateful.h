/* SPDX-License-Identifier: GPL-2.0-only */
/* More checks that remember or ask a connection: quota, cluster. Include ops_state.h first. */
#pragma once

#include "bt.h"
#include "jhash.h"
#include "ops_arg.h"
#include "ops_packet.h"

/* The state is what is used up, 64 bits wide. Once a packet did not fit, the rest is gone too. */
__noinline int bt_op_quota(struct __sk_buff *skb, __u32 how, __u32 at, __u32 lo, __u32 hi)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_line *l = p ? state_line(p, at) : NULL;

	if (!l)
		return -1;
	__u64 *state = (__u64 *)&l->w[0];
	__u64 quota = (__u64)hi << 32 | lo;
	for (int i = 0; i < STATE_TRIES; i++) {
		__u64 old = *(volatile __u64 *)state;
		bool fits = quota - old >= p->nbytes;
		__u64 new = fits ? old + p->nbytes : quota;
		if (old == new || __sync_val_compare_and_swap(state, old, new) == old)
			return fits != (how & OPF_INVERT);
	}
	return -1; /* 64 lost races in a row */
}

/* As the kernel hashes an address: its first word, which of IPv6 is not all of it. */
static __always_inline __u32 jhash_addr(const bt_addr *addr, __u32 seed)
{
	__u32 base = seed + JHASH_INITVAL + (1 << 2);
#if BT_FAMILY == 6
	return jhash_end(base + addr->w[0], base, base);
#else
	return jhash_end(base + *addr, base, base);
#endif
}

/* The nodes of a cluster share a multicast link address. A packet that came by it to an address of one host is for the host: TCP would
 * not take it otherwise. The match makes it so for each packet that it is asked about, whatever it says. */
static __always_inline void cluster_take(struct __sk_buff *skb, struct bt_pkt *p)
{
	if (!addr_is_multicast(p->daddr) && skb->pkt_type == PKT_MULTICAST)
		bpf_skb_change_type(skb, PKT_HOST);
}

__noinline int bt_op_cluster(struct __sk_buff *skb, __u32 how, __u32 nodes, __u32 seed)
{
	struct bt_pkt *p = pkt();
	struct bt_conn *ct;

	if (!p)
		return -1;
	cluster_take(skb, p);
	ct = bt_conn_of(p);
	if (!ct)
		return 0;
	__u32 node = (__u64)jhash_addr(&ct->orig.saddr, seed) * (how >> 16) >> 32;
	return (nodes >> (node & 31) & 1) != (how & OPF_INVERT);
}
