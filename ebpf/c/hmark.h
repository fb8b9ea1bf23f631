/* SPDX-License-Identifier: GPL-2.0-only */
/* -j HMARK: a mark from a hash of the packet's addresses, ports and protocol, or of its connection's. Both directions have one hash. Include ops.h
 * first. */
#pragma once

#include "bt.h"
#include "ct.h"
#include "ops_arg.h"
#include "ops_l4.h"
#include "ops_stateful.h"
#if BT_FAMILY == 6
#include "ops_ext6.h"
#endif

#define PROTO_ESP 50
#define PROTO_AH 51

struct hmark {
	__be32 src, dst;
	__u32 ports, proto;
};

static __always_inline __be32 hmark_addr(const bt_addr *addr, const __u32 *mask)
{
#if BT_FAMILY == 6
	return (addr->w[0] & mask[0]) ^ (addr->w[1] & mask[1]) ^ (addr->w[2] & mask[2]) ^ (addr->w[3] & mask[3]);
#else
	return *addr & mask[0];
#endif
}

static __always_inline void hmark_ports(struct hmark *h, const struct bt_hmark_params *n, __be16 source, __be16 dest)
{
	__u32 both = (((__u32)dest << 16 | source) & n->port_mask) | n->port_set;
	__u32 src = bpf_ntohs(both), dst = bpf_ntohs(both >> 16);

	h->ports = dst > src ? dst << 16 | src : src << 16 | dst;
}

/* Those of the header at `at`; `end`: where the packet ends. */
static __always_inline void hmark_read(struct __sk_buff *skb, struct hmark *h, const struct bt_hmark_params *n, __u32 at, __u32 end)
{
	__be16 ports[2];

	switch (h->proto) {
	case PROTO_AH:
		at += 4;
		break;
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case PROTO_ESP:
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		break;
	default:
		return;
	}
	if (at + sizeof(ports) <= end && !bpf_skb_load_bytes(skb, at, ports, sizeof(ports)))
		hmark_ports(h, n, ports[0], ports[1]);
}

/* False: the packet has no connection. The second address and port are those that answers come from: behind a DNAT. */
static __always_inline bool hmark_of_connection(struct bt_pkt *p, struct hmark *h, const struct bt_hmark_params *n)
{
	struct bt_conn *ct = bt_conn_of(p);

	if (!ct)
		return false;
	h->src = hmark_addr(&ct->orig.saddr, n->smask);
	h->dst = hmark_addr(&ct->reply.saddr, n->dmask);
	h->proto = ct->orig.proto;
	/* IPv4's ICMP has no ports; of IPv6's its identifier counts as both. */
	if (h->proto != 1)
		hmark_ports(h, n, ct->orig.sport, ct->reply.sport);
	return true;
}

/* Of a later fragment: what its first one had. */
static __always_inline void hmark_known(struct bt_pkt *p, struct hmark *h, const struct bt_hmark_params *n)
{
	if (p->flags & P_PORTS)
		hmark_ports(h, n, bpf_htons(p->sport), bpf_htons(p->dport));
}

/* Whether netfilter would show this fragment as a part of its whole packet. */
static __always_inline bool hmark_whole(const struct bt_pkt *p)
{
	return p->img_flags & IMG_WHOLE || (p->flags & P_LOCAL && p->hook >= H_OUT);
}

#if BT_FAMILY == 6

/* Walks to the first header that is no extension header, or AH. False: it is cut short. `frag`: there is a fragment header on the way. */
static __always_inline bool hmark_upper(struct __sk_buff *skb, struct ext_seek *w, struct hmark *h, bool *frag)
{
	__u8 next;

	w->target = NEXT_AUTH;
	w->found = -1;
	w->frag = false;
	bpf_loop(EXT_MAX, seek_step, w, 0);
	if (w->found < 0)
		return false;
	*frag = w->frag;
	h->proto = w->next;
	if (w->next != NEXT_FRAGMENT)
		return true;
	/* A later fragment: what it is of, unless that is an extension header. */
	if (bpf_skb_load_bytes(skb, w->at, &next, 1) || (ext_is(next) && next != NEXT_NONE))
		return false;
	h->proto = next;
	return true;
}

/* False: the mark stays. */
static __always_inline bool hmark_of_packet(struct __sk_buff *skb, struct bt_pkt *p, struct hmark *h, const struct bt_hmark_params *n)
{
	struct ext_seek w = { .skb = skb, .at = (__u32)p->l2len + 40, .end = (__u32)p->l2len + p->len };
	bool frag = false, whole = hmark_whole(p), later = whole && !p->npkts;
	bt_addr saddr = p->saddr, daddr = p->daddr;
	__u8 next, type, version;

	if (bpf_skb_load_bytes(skb, p->l2len + 6, &next, 1))
		return false;
	w.next = next;
	/* What cannot be read is hashed as nothing. */
	if (!hmark_upper(skb, &w, h, &frag)) {
		h->proto = 0;
		return true;
	}
	if (later)
		h->proto = p->proto;
	frag &= !whole;
	if (h->proto == BT_ICMP && !frag && !later && w.at + 8 <= w.end && !bpf_skb_load_bytes(skb, w.at, &type, 1) && type && type < 128) {
		__u32 inner = w.at + 8;
		if (inner + 40 > w.end || bpf_skb_load_bytes(skb, inner, &version, 1) || version >> 4 != 6 ||
		    bpf_skb_load_bytes(skb, inner + 6, &next, 1) || bpf_skb_load_bytes(skb, inner + 8, &saddr, sizeof(saddr)) ||
		    bpf_skb_load_bytes(skb, inner + 24, &daddr, sizeof(daddr)))
			return false;
		w.at = inner + 40;
		w.next = next;
		if (!hmark_upper(skb, &w, h, &frag))
			return false;
	}
	h->src = hmark_addr(&saddr, n->smask);
	h->dst = hmark_addr(&daddr, n->dmask);
	if (later)
		hmark_known(p, h, n);
	else if (!frag)
		hmark_read(skb, h, n, w.at, w.end);
	return true;
}

#else

/* False: the mark stays. */
static __always_inline bool hmark_of_packet(struct __sk_buff *skb, struct bt_pkt *p, struct hmark *h, const struct bt_hmark_params *n)
{
	__u32 at = (__u32)p->l2len + p->ihl, end = (__u32)p->l2len + p->len;
	bool whole = hmark_whole(p), later = whole && !p->npkts;
	bool fragment = !whole && (p->frag_off || p->flags & P_MORE);
	bt_addr saddr = p->saddr, daddr = p->daddr;
	__u8 type;

	h->proto = p->proto;
	if (p->proto == BT_ICMP && !later && at + 8 <= end && !bpf_skb_load_bytes(skb, at, &type, 1) &&
	    (type == 3 || type == 4 || type == 5 || type == 11 || type == 12)) {
		struct bt_iphdr ip;
		if (at + 8 + sizeof(ip) > end || bpf_skb_load_bytes(skb, at + 8, &ip, sizeof(ip)))
			return false;
		saddr = ip.saddr;
		daddr = ip.daddr;
		h->proto = ip.protocol;
		fragment = ip.frag_off & bpf_htons(0x3fff);
		at += 8 + (ip.vihl & 15) * 4;
	}
	h->src = hmark_addr(&saddr, n->smask);
	h->dst = hmark_addr(&daddr, n->dmask);
	if (later)
		hmark_known(p, h, n);
	else if (!fragment)
		hmark_read(skb, h, n, at, end);
	return true;
}

#endif

/* `at`: line of struct bt_hmark_params. */
__noinline int bt_target_hmark(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	void *img = p ? image(p->slot) : NULL;
	struct bt_hmark_params *n = img ? line(img, at) : NULL;
	struct hmark h = {};

	if (!p || !n)
		return 0;
	if (!(n->conntrack ? hmark_of_connection(p, &h, n) : hmark_of_packet(skb, p, &h, n)))
		return 0;
	__u32 src = bpf_ntohl(h.src), dst = bpf_ntohl(h.dst), base = n->rnd + JHASH_INITVAL + (3 << 2);
	__u32 lo = dst < src ? dst : src, hi = dst < src ? src : dst;
	__u32 hash = jhash_end(base + lo, base + hi, base + h.ports) ^ (h.proto & n->proto_mask);
	p->mark = ((__u64)hash * n->modulus >> 32) + n->offset;
	return 0;
}
