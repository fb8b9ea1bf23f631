/* SPDX-License-Identifier: GPL-2.0-only */
/* What connection tracking asks of ICMPv6, as nf_conntrack_proto_icmpv6: which types open connections, which are tracked not at all,
 * and what an error quotes. Included by ct_check.h. */
#pragma once

#include "bt.h"


/* Multicast listener and neighbour discovery, but for redirects. */
static __always_inline bool icmp6_untracked(__u32 type)
{
	return (type >= 130 && type <= 136) || type == 143;
}

/* Where the packet quoted by the ICMPv6 error at x->l4off begins; 0: a redirect that quotes nothing that can be read. */
static __always_inline __u32 icmp6_quoted(struct __sk_buff *skb, const struct bt_ctx *x)
{
	__u8 opt[2];

	if (x->icmp_type != BT_ICMP_REDIRECT)
		return x->l4off + 8;
	/* Target and destination, then options: the first must be the redirected header. */
	if (bpf_skb_load_bytes(skb, x->l4off + 40, opt, 2) || opt[0] != 4 || !opt[1])
		return 0;
	return x->l4off + 48;
}

/* The tuple of the packet inside an ICMPv6 error into scratch `t`. 0, or -1 if there is none to be read. */
__noinline int bt_ct_inner(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();
	struct ext_walk w = { .skb = skb };
	struct bt_ip6hdr ip;
	__u8 l4[8] = {};
	__u32 at;

	if (!x)
		return -1;
	at = icmp6_quoted(skb, x);
	if (!at || bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return -1;
	w.at = at + 40;
	w.end = x->l4off + x->l4len;
	w.next = ip.nexthdr;
	bpf_loop(EXT_MAX, ext_step, &w, 0);
	if (w.bad || ext_is(w.next) || w.frag & ~7u)
		return -1;
	x->t.proto = w.next;
	x->t.kind = 0;
	x->t.zone = 0;
	x->t.saddr = ip.saddr;
	x->t.daddr = ip.daddr;
	x->t.sport = x->t.dport = 0;
	switch (w.next) {
	case BT_ICMP:
		if (bpf_skb_load_bytes(skb, w.at, l4, 8))
			return -1;
		__builtin_memcpy(&x->t.sport, l4 + 4, 2);
		x->t.dport = (__u16)l4[0] << 8 | l4[1];
		if (icmp_partner(l4[0]) == 255)
			return -1;
		break;
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		if (bpf_skb_load_bytes(skb, w.at, l4, 4))
			return -1;
		__builtin_memcpy(&x->t.sport, l4, 2);
		__builtin_memcpy(&x->t.dport, l4 + 2, 2);
		break;
	case IPPROTO_GRE:
		return ct_gre(skb, x, w.at);
	default:
		break;
	}
	return 0;
}
