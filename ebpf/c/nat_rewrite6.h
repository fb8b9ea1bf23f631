/* SPDX-License-Identifier: GPL-2.0-only */
/* Rewriting IPv6 packets. There is no header checksum; ICMPv6's covers the addresses as TCP's and UDP's do. Sums are computed here and
 * stored with BPF_F_RECOMPUTE_CSUM, so that a sum over the whole packet, if the device gave one, stays right on every kernel.
 * Included by nat_rewrite.h. */
#pragma once

/* What a change of address adds to a sum of words. */
static __always_inline __u32 addr_change(bt_addr from, bt_addr to)
{
	__u64 s = 0;

	for (int i = 0; i < 4; i++)
		s += (__u64)(__u32)~from.w[i] + to.w[i];
	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffffffff) + (s >> 32);
	return sum_fold(s);
}

/* A sum field after `change` was added to what it sums. A partial one holds the sum itself, others its complement. */
static __always_inline __u16 sum_add(__u16 field, __u32 change, bool partial)
{
	return partial ? sum_fold(field + change) : (__u16)~sum_fold((__u16)~field + change);
}

static __always_inline __u32 half_change(__u16 from, __u16 to)
{
	return (__u32)(__u16)~from + to;
}

static __always_inline int put6(struct __sk_buff *skb, __u32 at, const void *data, __u32 size)
{
	return size == 2 ? bpf_skb_store_bytes(skb, at, data, 2, BPF_F_RECOMPUTE_CSUM)
			 : bpf_skb_store_bytes(skb, at, data, 16, BPF_F_RECOMPUTE_CSUM);
}

/* Where sum and port (or identifier) of a transport header stand; ~0: it has none. */
static __always_inline void l4_places(__u32 proto, bool src, __u32 *sum_at, __u32 *port_at)
{
	*sum_at = *port_at = ~0u;
	switch (proto) {
	case IPPROTO_TCP:
		*sum_at = 16;
		*port_at = src ? 0 : 2;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		*sum_at = 6;
		*port_at = src ? 0 : 2;
		break;
	case IPPROTO_SCTP:
		*port_at = src ? 0 : 2;
		break;
	case BT_ICMP:
		*sum_at = 2;
		*port_at = 4;
		break;
	}
}

static __always_inline bool icmp6_is_echo(__u32 type)
{
	return type == 128 || type == 129;
}

/* Rewrites the packet inside an ICMPv6 error: its source (`src`) or destination to scratch `to`, port. */
__noinline int bt_nat_inner(struct __sk_buff *skb, __u32 src, __u32 port)
{
	struct bt_ctx *x = ctx_();
	struct bt_pkt *p = pkt();
	struct ext_walk w = { .skb = skb };
	__u32 at, outer_at, sum_at, port_at, change, all = 0;
	__u16 sum = 0, new, oport = 0, nport = port;
	struct bt_ip6hdr ip;
	bt_addr old, to;
	__u8 type;

	if (!x || !p)
		return -1;
	to = x->to;
	outer_at = (__u32)p->l2len + p->ihl + 2;
	at = outer_at + 6;
	if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return -1;
	old = src ? ip.saddr : ip.daddr;
	change = addr_change(old, to);
	w.at = at + 40;
	w.end = (__u32)p->l2len + p->len;
	w.next = ip.nexthdr;
	bpf_loop(EXT_MAX, ext_step, &w, 0);
	if (!w.bad && !ext_is(w.next) && !(w.frag & ~7u)) {
		l4_places(w.next, src, &sum_at, &port_at);
		if (port_at != ~0u) {
			if (bpf_skb_load_bytes(skb, w.at + port_at, &oport, 2))
				return -1;
			if (w.next == BT_ICMP && (bpf_skb_load_bytes(skb, w.at, &type, 1) || !icmp6_is_echo(type)))
				nport = oport;
			/* A TCP header cut short keeps its sum, as in the kernel; others must be whole. */
			bool whole = w.at + (w.next == IPPROTO_TCP ? 20 : 8) <= w.end;
			if (!whole && w.next != IPPROTO_TCP && w.next != IPPROTO_SCTP)
				return -1;
			if (whole && sum_at != ~0u) {
				if (bpf_skb_load_bytes(skb, w.at + sum_at, &sum, 2))
					return -1;
				if (w.next != IPPROTO_UDP || sum) {
					new = sum_add(sum, sum_fold(change + sum_fold(half_change(oport, nport))), false);
					if (w.next == IPPROTO_UDP && !new)
						new = 0xffff;
					if (put6(skb, w.at + sum_at, &new, 2))
						return -1;
					all += half_change(sum, new);
				}
			}
			if (put6(skb, w.at + port_at, &nport, 2))
				return -1;
			all += half_change(oport, nport);
		}
	}
	if (put6(skb, at + (src ? 8 : 24), &to, 16))
		return -1;
	all = sum_fold(sum_fold(all) + change);
	if (skb_summed(skb) == SUM_PARTIAL)
		return 0;
	if (bpf_skb_load_bytes(skb, outer_at, &sum, 2))
		return -1;
	new = sum_add(sum, all, false);
	return put6(skb, outer_at, &new, 2) ? -1 : 0;
}

/* Rewrites the packet's own source (`src`) or destination to scratch `to`, port (network order). ICMPv6: `id` is NAT_ID | identifier,
 * or 0 for none. */
__noinline int bt_nat_outer(struct __sk_buff *skb, __u32 src, __u32 port, __u32 id)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 l4, sum_at, port_at, change;
	__u16 oport = 0, nport = port, sum = 0, new;
	bt_addr old, to;
	bool partial;

	if (!p || !x)
		return -1;
	to = x->to;
	l4 = (__u32)p->l2len + p->ihl;
	old = src ? p->saddr : p->daddr;
	if (p->proto == IPPROTO_GRE && !gre_translates(skb, p, l4, src))
		return -1;
	l4_places(p->proto, src, &sum_at, &port_at);
	if (x->frag_real)
		sum_at = port_at = ~0u;
	if (port_at != ~0u && bpf_skb_load_bytes(skb, l4 + port_at, &oport, 2))
		return -1;
	if (p->proto == BT_ICMP)
		nport = id && icmp6_is_echo(p->icmp_type) ? id : oport;
	if (port_at == ~0u)
		nport = oport;
	if (oport != nport && p->proto == IPPROTO_SCTP && sctp_sum(skb, p, x, (__u32)(oport ^ nport) << (src ? 0 : 16)))
		return -1;
	if (sum_at != ~0u) {
		if (bpf_skb_load_bytes(skb, l4 + sum_at, &sum, 2))
			return -1;
		partial = skb_summed(skb) == SUM_PARTIAL;
		if (partial || p->proto != IPPROTO_UDP || sum) {
			change = addr_change(old, to);
			if (!partial)
				change = sum_fold(change + sum_fold(half_change(oport, nport)));
			new = sum_add(sum, change, partial);
			if (p->proto == IPPROTO_UDP && !new)
				new = 0xffff;
			if (put6(skb, l4 + sum_at, &new, 2))
				return -1;
		}
	}
	if (oport != nport && put6(skb, l4 + port_at, &nport, 2))
		return -1;
	if (put6(skb, (__u32)p->l2len + (src ? 8 : 24), &to, 16))
		return -1;
	if (src)
		p->saddr = to;
	else
		p->daddr = to;
	if (p->proto != BT_ICMP && port_at != ~0u) {
		if (src)
			p->sport = bpf_ntohs(nport);
		else
			p->dport = bpf_ntohs(nport);
	}
	return 0;
}
