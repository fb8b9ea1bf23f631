/* SPDX-License-Identifier: GPL-2.0-only */
/* Rewriting a packet as its connection says: addresses, ports, checksums, and the packet quoted in an ICMP error. */
#pragma once

#include "ct_check.h"
#include "nat_sctp.h"

/* Brings SCTP's sum up to a change of its ports (as stored). */
static __always_inline int sctp_sum(struct __sk_buff *skb, const struct bt_pkt *p, const struct bt_ctx *x, __u32 diff)
{
	__u32 at = (__u32)p->l2len + p->ihl + 8, sum;

	if (skb_summed(skb) == SUM_PARTIAL)
		return 0; /* the device will make it */
	if ((p->flags & P_MORE) || bpf_skb_load_bytes(skb, at, &sum, 4))
		return -1;
	sum ^= bt_crc32c_change(p->len - p->ihl, diff);
	return bpf_skb_store_bytes(skb, at, &sum, 4, 0) ? -1 : 0;
}

#define NAT_ID 0x10000u

/* Whether netfilter translates a GRE packet: it wants eight bytes of it, and for another destination a version that it knows. */
static __always_inline bool gre_translates(struct __sk_buff *skb, const struct bt_pkt *p, __u32 l4, __u32 src)
{
	__u8 h[8];

	if (p->frag_off)
		return true;
	return p->len >= p->ihl + sizeof(h) && !bpf_skb_load_bytes(skb, l4, h, sizeof(h)) && (src || (h[1] & 7) < 2);
}

#if BT_FAMILY == 6
#include "nat_rewrite6.h"
#else
/* Adds to a checksum field's complement the change from one word to another. */
static __always_inline __u16 sum_change(__u16 field, __u32 from, __u32 to)
{
	__u64 s = (__u16)~field;

	s += (__u64)(__u32)~from + to;
	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffffffff) + (s >> 32);
	return ~sum_fold(s);
}

/* Writes `to` over `from` (2 or 4 bytes) inside an ICMP message, keeping the message's own checksum right. */
static __always_inline int icmp_put(struct __sk_buff *skb, __u32 sum_at, __u32 at, __u32 from, __u32 to, __u32 size)
{
	__u16 half = to;

	if (from == to)
		return 0;
	if (size == 2) {
		if (bpf_skb_store_bytes(skb, at, &half, 2, 0))
			return -1;
	} else if (bpf_skb_store_bytes(skb, at, &to, 4, 0)) {
		return -1;
	}
	/* At an odd offset the bytes would count the other way round; IP and L4 headers are never at one. */
	return bpf_l4_csum_replace(skb, sum_at, from, to, size) ? -1 : 0;
}

/* Rewrites the packet inside an ICMP error: its source (`src`) or destination to scratch `to`, port. */
__noinline int bt_nat_inner(struct __sk_buff *skb, __u32 src, __u32 port)
{
	struct bt_ctx *x = ctx_();
	struct bt_pkt *p = pkt();
	__u32 at, l4, ihl, old, addr, sum_at, csum_at = 0, pport = 0;
	__u16 sum, nsum, oport = 0;
	__u8 ip[20];

	if (!x || !p)
		return -1;
	addr = x->to;
	sum_at = (__u32)p->l2len + p->ihl + 2;
	at = sum_at + 6;
	if (bpf_skb_load_bytes(skb, at, ip, sizeof(ip)))
		return -1;
	ihl = (ip[0] & 15) * 4;
	if (ihl < 20)
		return -1;
	l4 = at + ihl;
	if (src)
		__builtin_memcpy(&old, ip + 12, 4);
	else
		__builtin_memcpy(&old, ip + 16, 4);
	__builtin_memcpy(&sum, ip + 10, 2);
	nsum = sum_change(sum, old, addr);

	switch (ip[9]) {
	case IPPROTO_TCP:
		csum_at = 16;
		pport = src ? 0 : 2;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		csum_at = 6;
		pport = src ? 0 : 2;
		break;
	case BT_ICMP:
		csum_at = 2;
		pport = 4;
		break;
	case IPPROTO_SCTP:
		pport = src ? 0 : 2;
		break;
	default:
		pport = ~0u;
	}
	if (pport != ~0u) {
		__u16 lsum = 0, n;

		if (bpf_skb_load_bytes(skb, l4 + pport, &oport, 2))
			return -1;
		/* A header cut short keeps its sum, as in the kernel. */
		if (csum_at && l4 + (ip[9] == IPPROTO_TCP ? 20 : 8) <= p->l2len + p->len &&
		    !bpf_skb_load_bytes(skb, l4 + csum_at, &lsum, 2) && (ip[9] != IPPROTO_UDP || lsum)) {
			n = lsum;
			if (ip[9] != BT_ICMP)
				n = sum_change(n, old, addr);
			n = sum_change(n, oport, port);
			if (ip[9] == IPPROTO_UDP && !n)
				n = 0xffff;
			if (icmp_put(skb, sum_at, l4 + csum_at, lsum, n, 2))
				return -1;
		}
		if (icmp_put(skb, sum_at, l4 + pport, oport, port & 0xffff, 2))
			return -1;
	}
	if (icmp_put(skb, sum_at, at + 10, sum, nsum, 2))
		return -1;
	return icmp_put(skb, sum_at, at + (src ? 12 : 16), old, addr, 4);
}

/* Rewrites the packet's own source (`src`) or destination to scratch `to`, port (network order). ICMP: `id` is NAT_ID | identifier, or
 * 0 for none. */
__noinline int bt_nat_outer(struct __sk_buff *skb, __u32 src, __u32 port, __u32 id)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 ipat, l4, old, addr, sum_at = 0, port_at = ~0u, extra = 0;
	__u16 oport = 0, nport = port;

	if (!p || !x)
		return -1;
	addr = x->to;
	ipat = p->l2len;
	l4 = ipat + p->ihl;
	old = src ? p->saddr : p->daddr;
	if (p->proto == IPPROTO_GRE && !gre_translates(skb, p, l4, src))
		return -1;
	switch (p->proto) {
	case IPPROTO_TCP:
		sum_at = 16;
		port_at = src ? 0 : 2;
		break;
	case IPPROTO_UDP:
		extra = BPF_F_MARK_MANGLED_0;
		if (skb_summed(skb) == SUM_PARTIAL)
			extra |= BPF_F_MARK_ENFORCE;
		/* fall through */
	case IPPROTO_UDPLITE:
		sum_at = 6;
		port_at = src ? 0 : 2;
		break;
	case IPPROTO_SCTP:
		port_at = src ? 0 : 2;
		break;
	case BT_ICMP:
		if (id) {
			sum_at = 2;
			port_at = 4;
			nport = id;
		}
		break;
	default:
		break;
	}
	if (x->frag_real) {
		sum_at = 0;
	} else if (port_at != ~0u) {
		if (bpf_skb_load_bytes(skb, l4 + port_at, &oport, 2))
			return -1;
		if (oport != nport && p->proto == IPPROTO_SCTP && sctp_sum(skb, p, x, (__u32)(oport ^ nport) << (src ? 0 : 16)))
			return -1;
		if (sum_at) {
			if (p->proto != BT_ICMP && old != addr &&
			    bpf_l4_csum_replace(skb, l4 + sum_at, old, addr, BPF_F_PSEUDO_HDR | extra | 4))
				return -1;
			if (oport != nport && bpf_l4_csum_replace(skb, l4 + sum_at, oport, nport, extra | 2))
				return -1;
		}
		if (oport != nport && bpf_skb_store_bytes(skb, l4 + port_at, &nport, 2, 0))
			return -1;
	}
	if (old != addr) {
		if (bpf_l3_csum_replace(skb, ipat + 10, old, addr, 4) ||
		    bpf_skb_store_bytes(skb, ipat + (src ? 12 : 16), &addr, 4, 0))
			return -1;
	}
	if (src)
		p->saddr = addr;
	else
		p->daddr = addr;
	if (p->proto != BT_ICMP && port_at != ~0u) {
		if (src)
			p->sport = bpf_ntohs(nport);
		else
			p->dport = bpf_ntohs(nport);
	}
	return 0;
}
#endif

/* Rewrites the packet as its connection says, at this hook. `manip`: MANIP_DST at PREROUTING and OUTPUT, MANIP_SRC at
 * POSTROUTING and INPUT. 0 or -STAT_DROP_REWRITE. */
__noinline int bt_nat_apply(struct __sk_buff *skb, __u32 manip)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	const struct bt_tuple *t;
	struct bt_conn *c;
	__u32 bit, src = manip == MANIP_SRC, port, id, err;

	if (!p || !x || !p->ct)
		return 0;
	c = bt_conn_at(p->ct - 1);
	if (!c)
		return 0;
	/* A masquerading connection that now leaves by another device ends. */
	if (src && p->hook == H_POST && p->ctdir == DIR_ORIG && c->masq_ifindex && p->ctinfo != CI_RELATED &&
	    c->masq_ifindex != p->ifout) {
		bt_ct_reap(p->ct - 1);
		return -STAT_DROP_REWRITE;
	}
	bit = src ? ST_SRC_NAT : ST_DST_NAT;
	if (p->ctdir == DIR_REPLY)
		bit ^= ST_NAT_BITS;
	err = p->ctinfo == CI_RELATED && p->proto == BT_ICMP;
	if (err && p->icmp_type == BT_ICMP_REDIRECT && !x->frag_real && (c->status & ST_NAT_BITS))
		return -STAT_DROP_REWRITE; /* a redirect about a translated connection would mislead */
	if (!(c->status & bit))
		return 0;
	/* What the other direction's tuple says, read backwards. */
	t = p->ctdir == DIR_ORIG ? &c->reply : &c->orig;
	x->to = src ? t->daddr : t->saddr;
	port = src ? t->dport : t->sport;
	id = t->sport;
	if (err && !x->frag_real) {
		if (bt_nat_inner(skb, !src, t->proto == BT_ICMP ? id : port))
			return -STAT_DROP_REWRITE;
		return bt_nat_outer(skb, src, 0, 0) ? -STAT_DROP_REWRITE : 0;
	}
	return bt_nat_outer(skb, src, port, err ? 0 : NAT_ID | id) ? -STAT_DROP_REWRITE : 0;
}
