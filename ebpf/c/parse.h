/* SPDX-License-Identifier: GPL-2.0-only */
/* Reading a packet's headers into the scratch record. */
#pragma once
#include "bt.h"

/* L4 bytes that rules look at. */
struct bt_l4hdr {
	__u16 sport, dport;
	__u8 rest[16];
} __attribute__((aligned(4)));

/* Reads ports, flags, types of the L4 header. Fragments with an offset have none. */
static __always_inline void parse_l4(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct bt_l4hdr h = {};
	__u32 have = p->len > p->ihl ? p->len - p->ihl : 0;
	__u32 off = p->l2len + p->ihl;

	p->sport = p->dport = 0;
	p->tcp_flags = p->icmp_type = p->icmp_code = 0;
	p->flags &= ~(P_PORTS | P_TRUNC);
	if (unlikely(p->frag_off))
		return;
	switch (p->proto) {
	case IPPROTO_TCP:
		if (likely(have >= 20 && !peek(skb, off, &h, 5))) {
			p->tcp_flags = h.rest[9];
			break;
		}
		p->flags |= P_TRUNC;
		if (have < 4 || bpf_skb_load_bytes(skb, off, &h, 4))
			return;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		if (likely(have >= 8 && !peek(skb, off, &h, 2)))
			break;
		p->flags |= P_TRUNC;
		if (have < 4 || bpf_skb_load_bytes(skb, off, &h, 4))
			return;
		break;
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		if (have < 12)
			p->flags |= P_TRUNC;
		if (have < 4 || bpf_skb_load_bytes(skb, off, &h, 4))
			return;
		break;
	case BT_ICMP:
		if (have >= 8 && !peek(skb, off, &h, 2)) {
			p->icmp_type = (__u8)h.sport;
			p->icmp_code = h.sport >> 8;
			return;
		}
		p->flags |= P_TRUNC;
		return;
	default:
		return;
	}
	p->sport = bpf_ntohs(h.sport);
	p->dport = bpf_ntohs(h.dport);
	p->flags |= P_PORTS;
}

#if BT_FAMILY == 6
#include "parse6.h"
#else

struct bt_iphdr {
	__u8 vihl, tos;
	__u16 tot_len, id, frag_off;
	__u8 ttl, protocol;
	__u16 check;
	__u32 saddr, daddr;
};

static __always_inline __u32 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Whether the IP header's checksum holds, as ip_rcv asks before any hook. */
static __always_inline bool ip_checksum_ok(struct __sk_buff *skb, struct bt_pkt *p, struct bt_iphdr *ip)
{
	__u32 *w = (__u32 *)ip;
	__u64 sum = 0;
	for (int i = 0; i < 5; i++)
		sum += w[i];
	/* Word by word: older verifiers don't follow the bounds of a length that is not constant. */
	for (__u32 at = 20; at < 60; at += 4) {
		__u32 option;
		if (likely(at >= p->ihl))
			break;
		if (bpf_skb_load_bytes(skb, p->l2len + at, &option, sizeof(option)))
			return false;
		sum += option;
	}
	return csum_fold(sum) == 0xffff;
}

/* Reads the IPv4 header at l2len. False: not a packet that the stack would show to netfilter (it will drop it itself). */
static __always_inline bool parse(struct __sk_buff *skb, struct bt_pkt *p, __u32 l2len, bool received)
{
	struct bt_iphdr ip;

	if (unlikely(peek(skb, l2len, &ip, sizeof(ip) / 4)))
		return false;
	p->l2len = l2len;
	p->ihl = (ip.vihl & 15) * 4;
	if (unlikely(ip.vihl >> 4 != 4 || p->ihl < 20))
		return false;
	__u32 total = bpf_ntohs(ip.tot_len);
	__u32 carried = skb->len - l2len;
	/* BIG TCP: the length does not fit its field. */
	if (unlikely(total == 0) && ip.protocol == IPPROTO_TCP && skb->gso_size)
		total = carried;
	if (unlikely(total > carried || total < p->ihl))
		return false;
	if (received && unlikely(!ip_checksum_ok(skb, p, &ip)))
		return false;
	p->len = total;
	p->saddr = ip.saddr;
	p->daddr = ip.daddr;
	p->proto = ip.protocol;
	p->ttl = ip.ttl;
	p->tos = ip.tos;
	p->ip_id = ip.id;
	__u32 frag = bpf_ntohs(ip.frag_off);
	p->frag_off = frag & 0x1fff;
	p->flags = frag & 0x2000 ? P_MORE : 0;
	p->npkts = 1;
	p->nbytes = total;
	parse_l4(skb, p);
	return true;
}

#endif
