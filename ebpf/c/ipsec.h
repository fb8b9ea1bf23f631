/* SPDX-License-Identifier: GPL-2.0-only */
/* IPsec's policies, for packets that change where the kernel does not ask them again. The stack looks for the policy of a packet that it sends before
 * the egress programs change it, and for that of a received one after the ingress programs changed it; netfilter has it look for the
 * addresses as they are outside. So what changes here goes no further if a policy might stop or wrap it as it is outside: one of its
 * direction, addresses and mark, whatever more it asks. Policies of xfrm devices (`if_id`) are asked at these devices alone. */
#pragma once

#include "kernel_load.h"
#include "kernel_net.h"
#include "kernel_ipsec.h"

enum bt_ipsec_dir { IPSEC_IN, IPSEC_OUT, IPSEC_FWD };
#define IPSEC_ACCEPT 2 /* XFRM_USERPOLICY_ACCEPT */
#define MAX_POLICIES 65536

struct xfrm_policy_walk_entry {
	struct list_head all;
	__u8 dead;
} __attribute__((preserve_access_index));
struct xfrm_selector {
	__u8 prefixlen_d, prefixlen_s;
} __attribute__((preserve_access_index));
struct xfrm_mark {
	__u32 v, m;
} __attribute__((preserve_access_index));
struct xfrm_policy {
	__u32 index, if_id;
	struct xfrm_mark mark;
	struct xfrm_selector selector;
	struct xfrm_policy_walk_entry walk;
	__u8 action, xfrm_nr;
	__u16 family;
} __attribute__((preserve_access_index));
/* Of struct xfrm_selector, as user space has it as well: unions of both families' addresses. */
#define SELECTOR_DADDR 0
#define SELECTOR_SADDR 16

struct ipsec_walk {
	unsigned long at, head;
	bt_addr saddr, daddr;
	__u32 dir, mark, other_mark;
	bool stops;
};

/* Whether the first `bits` bits of an address are those of the one in the kernel at `at`. */
static __always_inline bool in_prefix(bt_addr addr, unsigned long at, __u32 bits)
{
	__u32 words[sizeof(bt_addr) / 4];

	__builtin_memcpy(words, &addr, sizeof(words));
#pragma unroll
	for (int i = 0; i < sizeof(words) / 4; i++) {
		__u32 left = bits > i * 32 ? bits - i * 32 : 0;
		__u32 mask = left >= 32 ? ~0u : left ? bpf_htonl(~0u << (32 - left)) : 0;
		if ((words[i] ^ k32(at + i * 4)) & mask)
			return false;
	}
	return true;
}

static long ipsec_step(__u32 i, void *data)
{
	struct ipsec_walk *w = data;
	struct xfrm_policy_walk_entry *entry;
	struct xfrm_policy *policy;
	unsigned long at, selector;

	if (w->at == w->head)
		return 1;
	/* Nothing, where a policy went meanwhile. */
	w->stops = true;
	if (!w->at || i == MAX_POLICIES - 1)
		return 1;
	entry = kernel_object(w->at, bpf_core_type_id_kernel(struct xfrm_policy_walk_entry));
	at = w->at - bpf_core_field_offset(struct xfrm_policy, walk);
	/* What walks over them stands in the list as well. */
	if (!entry->dead) {
		policy = kernel_object(at, bpf_core_type_id_kernel(struct xfrm_policy));
		selector = at + bpf_core_field_offset(struct xfrm_policy, selector);
		__u32 value = policy->mark.v, mask = policy->mark.m;
		if (policy->family == BT_AF && !policy->if_id && (policy->index & 7) == w->dir && (policy->action || policy->xfrm_nr) &&
		    ((w->mark & mask) == value || (w->other_mark & mask) == value) &&
		    in_prefix(w->saddr, selector + SELECTOR_SADDR, policy->selector.prefixlen_s) &&
		    in_prefix(w->daddr, selector + SELECTOR_DADDR, policy->selector.prefixlen_d))
			return 1;
	}
	w->stops = false;
	w->at = (unsigned long)entry->all.next;
	return 0;
}

static __always_inline bool unwrapped(struct __sk_buff *skb)
{
	struct sk_buff___k *k = kernel_skb(skb);

	return was_unwrapped(k->active_extensions);
}

/* Whether some policy of this direction might stop a packet with these addresses, or wrap it: with its mark, or with one that it had when legacy's
 * was looked up. */
static __noinline bool ipsec_stops(struct __sk_buff *skb, __u32 dir, const bt_addr *saddr, const bt_addr *daddr, __u32 had)
{
	struct net___k *net = net_of(skb);
	struct bt_pkt *p = pkt();
	struct ipsec_walk w = { .saddr = *saddr, .daddr = *daddr, .dir = dir, .mark = p ? p->mark : had, .other_mark = had };

	if (!bpf_core_field_exists(struct net___k, xfrm))
		return false;
	__u32 count = dir == IPSEC_IN ? net->xfrm.policy_count[IPSEC_IN] :
		      dir == IPSEC_OUT ? net->xfrm.policy_count[IPSEC_OUT] : net->xfrm.policy_count[IPSEC_FWD];
	__u8 otherwise = dir == IPSEC_IN ? net->xfrm.policy_default[IPSEC_IN] :
			 dir == IPSEC_OUT ? net->xfrm.policy_default[IPSEC_OUT] : net->xfrm.policy_default[IPSEC_FWD];
	if (otherwise != IPSEC_ACCEPT)
		return true;
	if (!count)
		return false;
	w.head = (unsigned long)net + bpf_core_field_offset(struct net___k, xfrm.policy_all);
	w.at = (unsigned long)net->xfrm.policy_all.next;
	bpf_loop(MAX_POLICIES, ipsec_step, &w, 0);
	return w.stops;
}
