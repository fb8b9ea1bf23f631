/* SPDX-License-Identifier: GPL-2.0-only */
/* The IPv6 header and its extension headers, walked as netfilter's ipv6_find_hdr does: up to the first header that is none of
 * them. Included by parse.h. */
#pragma once

struct bt_ip6hdr {
	__be32 flow;
	__be16 payload_len;
	__u8 nexthdr, hop_limit;
	bt_addr saddr, daddr;
};

#define NEXT_HOP 0
#define NEXT_ROUTING 43
#define NEXT_FRAGMENT 44
#define NEXT_AUTH 51
#define NEXT_NONE 59
#define NEXT_DEST 60
/* Extension headers in a packet at most: they are 8 bytes at least, so this is more than any MTU in use holds. */
#define EXT_MAX 1024

static __always_inline bool ext_is(__u32 next)
{
	return next == NEXT_HOP || next == NEXT_ROUTING || next == NEXT_FRAGMENT || next == NEXT_AUTH || next == NEXT_NONE ||
	       next == NEXT_DEST;
}

/* A walk over extension headers: of the packet, or of one quoted in an ICMPv6 error. */
struct ext_walk {
	struct __sk_buff *skb;
	__u32 at, end; /* offsets in the skb */
	__u32 next;    /* the header at `at` */
	__u32 frag;    /* the fragment header's offset field, host order; frag_at: where it is, 0: none */
	__u32 frag_at, id;
	bool bad;      /* a header was not there, or is past what a later fragment shows */
};

static long ext_step(__u32 n, struct ext_walk *w)
{
	__u8 h[8];
	__u32 len;

	if (!ext_is(w->next) || w->next == NEXT_NONE)
		return 1;
	if (w->at + 2 > w->end || bpf_skb_load_bytes(w->skb, w->at, h, 2))
		goto bad;
	if (w->next == NEXT_FRAGMENT) {
		if (w->at + 4 > w->end || bpf_skb_load_bytes(w->skb, w->at, h, 4))
			goto bad;
		w->frag = (__u32)h[2] << 8 | h[3];
		w->frag_at = w->at;
		if (w->at + 8 <= w->end)
			bpf_skb_load_bytes(w->skb, w->at + 4, &w->id, 4);
		len = 8;
		if (w->frag & ~7u) {
			/* What follows is in the first fragment, unless it is said here. */
			w->next = h[0];
			w->at += 8;
			w->bad = ext_is(h[0]) && h[0] != NEXT_NONE;
			return 1;
		}
	} else if (w->next == NEXT_AUTH) {
		len = ((__u32)h[1] + 2) * 4;
	} else {
		/* A routing header is read with its type. */
		if (w->next == NEXT_ROUTING && w->at + 4 > w->end)
			goto bad;
		len = ((__u32)h[1] + 1) * 8;
	}
	w->next = h[0];
	w->at += len;
	return 0;
bad:
	w->bad = true;
	return 1;
}

/* The length of a packet whose header says 0: a jumbo payload option's, or all there is. 0: the stack drops it. */
static __always_inline __u32 jumbo_length(struct __sk_buff *skb, __u32 l2len, __u32 carried)
{
	__u8 hop[8];
	__be32 len;

	if (bpf_skb_load_bytes(skb, l2len + 40, hop, 8))
		return 0;
	if (hop[2] != 0xc2 || hop[3] != 4)
		return carried;
	__builtin_memcpy(&len, hop + 4, 4);
	len = bpf_ntohl(len);
	return len <= 65535 || len > carried - 40 ? 0 : len + 40;
}

/* What ip6_rcv drops before any hook: addresses that may not be on a wire. */
static __always_inline bool misplaced(const struct __sk_buff *skb, const struct bt_ip6hdr *ip, __u32 lo)
{
	__u32 scope = bpf_ntohl(ip->daddr.w[0]) >> 16 & 15;

	if (addr_is_multicast(ip->saddr))
		return true;
	if (addr_is_multicast(ip->daddr) && (!scope || (scope == 1 && skb->ifindex != lo && skb->pkt_type != 5)))
		return true;
	return skb->ifindex != lo && (addr_is_loopback(ip->saddr) || addr_is_loopback(ip->daddr));
}

/* Reads the headers at l2len. False: not a packet that the stack would show to netfilter (it will drop it itself). */
static __always_inline bool parse(struct __sk_buff *skb, struct bt_pkt *p, __u32 l2len, bool received)
{
	struct ext_walk w = { .skb = skb };
	struct bt_ip6hdr ip;

	if (peek(skb, l2len, &ip, sizeof(ip) / 4))
		return false;
	p->l2len = l2len;
	if (bpf_ntohl(ip.flow) >> 28 != 6)
		return false;
	__u32 carried = skb->len - l2len, total = bpf_ntohs(ip.payload_len) + 40;
	if (!ip.payload_len && ip.nexthdr == NEXT_HOP)
		total = jumbo_length(skb, l2len, carried);
	else if (!ip.payload_len && skb->gso_size)
		total = carried; /* BIG TCP without the option */
	if (total > carried || total < 40)
		return false;
	if (received && misplaced(skb, &ip, p->lo))
		return false;
	p->len = total;
	p->saddr = ip.saddr;
	p->daddr = ip.daddr;
	p->ttl = ip.hop_limit;
	p->tos = bpf_ntohl(ip.flow) >> 20;
	p->npkts = 1;
	p->nbytes = total;
	w.at = l2len + 40;
	w.end = l2len + total;
	w.next = ip.nexthdr;
	bpf_loop(EXT_MAX, ext_step, &w, 0);
	p->frag_off = p->frag_real = w.frag >> 3;
	p->ip_id = w.id;
	p->flags = w.frag & 1 ? P_MORE : 0;
	if (w.frag_at)
		p->flags |= P_FRAG_HDR;
	p->proto = w.next;
	p->ihl = w.at - l2len;
	if (w.bad || (ext_is(w.next) && w.next != NEXT_NONE)) {
		p->flags |= P_BAD_EXT;
		p->proto = NEXT_NONE;
	}
	parse_l4(skb, p);
	return true;
}
