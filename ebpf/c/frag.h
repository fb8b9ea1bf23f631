/* SPDX-License-Identifier: GPL-2.0-only */
/* Fragments while connections are tracked. Netfilter reassembles; we let the first fragment tell the later ones what they belong
 * to. A later fragment whose first has not passed is dropped (STAT_DROP_FRAGMENT).
 *
 * Differs from legacy: the fragments of a packet that was seen whole are judged one by one (their counts add up to the whole's). */
#pragma once

#include "ct_table.h"

/* What later fragments have from the first. */
#define FRAG_FLAGS (P_PORTS | P_TRUNC | P_BAD_EXT)
#define FRAG_LIFE (30 * SEC_NS)

struct bt_frag_key {
	bt_addr saddr, daddr;
	bt_frag_id id;
	__u8 proto, hook;
#if BT_FAMILY == 6
	__u16 pad;
#endif
};

struct bt_frag_val {
	__u64 until;
	__u32 ct;
	__u16 sport, dport;
	__u8 flags, tcp_flags, icmp_type, icmp_code;
	__u8 info, dir, proto, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct bt_frag_key);
	__type(value, struct bt_frag_val);
} bt_frags SEC(".maps");

static __always_inline void frag_key(struct bt_frag_key *k, const struct bt_pkt *p)
{
	k->saddr = p->saddr;
	k->daddr = p->daddr;
	k->id = p->ip_id;
	k->proto = BT_FAMILY == 6 ? 0 : p->proto; /* IPv6: a later fragment does not tell it */
	k->hook = p->hook;
}

/* Notes the connection that the first fragment was found to belong to. Before any rewrite of this run. */
static __always_inline void frag_note(const struct bt_pkt *p)
{
	struct bt_frag_key k = {};
	struct bt_frag_val *v;

	frag_key(&k, p);
	v = bpf_map_lookup_elem(&bt_frags, &k);
	if (!v)
		return;
	v->ct = p->ct;
	v->info = p->ctinfo;
	v->dir = p->ctdir;
}

/* To be called for every packet right after parsing, with p->hook set (H_PRE at ingress, H_FWD or H_OUT at egress), when
 * connections are tracked. Later fragments get the first one's ports and look whole to rules. 0 or -STAT_DROP_FRAGMENT. */
__noinline int bt_frag(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_frag_key k = {};
	struct bt_frag_val n = {}, *v;

	ARG_USED(skb);
	if (!p || !x)
		return -STAT_DROP_FRAGMENT;
	x->frag_real = p->frag_off;
	x->f_ct = 0;
	x->f_info = CI_NONE;
	if (BT_FAMILY == 6 && p->flags & P_FRAG_HDR) {
		p->nbytes -= 8; /* the whole packet has no such header */
		p->flags |= P_WHOLE;
	}
	if (!p->frag_off && !(p->flags & P_MORE))
		return 0;
	frag_key(&k, p);
	if (!p->frag_off) {
		n.until = ct_now() + FRAG_LIFE;
		n.sport = p->sport;
		n.dport = p->dport;
		n.flags = p->flags & FRAG_FLAGS;
		n.proto = p->proto;
		n.tcp_flags = p->tcp_flags;
		n.icmp_type = p->icmp_type;
		n.icmp_code = p->icmp_code;
		bpf_map_update_elem(&bt_frags, &k, &n, BPF_ANY);
		return 0;
	}
	v = bpf_map_lookup_elem(&bt_frags, &k);
	if (!v || (__s64)(v->until - ct_now()) <= 0)
		return -STAT_DROP_FRAGMENT;
	p->sport = v->sport;
	p->dport = v->dport;
	p->tcp_flags = v->tcp_flags;
	p->icmp_type = v->icmp_type;
	p->icmp_code = v->icmp_code;
	p->proto = v->proto;
	p->flags = (p->flags & ~FRAG_FLAGS) | v->flags;
	p->frag_off = 0;
	p->npkts = 0;
	p->nbytes = p->len - p->ihl;
	x->f_ct = v->ct;
	x->f_info = v->info;
	x->f_dir = v->dir;
	return 0;
}
