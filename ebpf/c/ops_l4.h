/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks of the transport header that stand as ops of their own: tcp, udp, icmp, multiport. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

/* Bytes behind the IP header, by the packet's own length. */
static __always_inline __u32 l4_bytes(const struct bt_pkt *p)
{
	return p->len > p->ihl ? p->len - p->ihl : 0;
}

static __always_inline __u32 l4_at(const struct bt_pkt *p)
{
	return (__u32)p->l2len + p->ihl;
}

static __always_inline bool in_range(__u32 value, __u32 lo_hi)
{
	return value >= (lo_hi & 0xffff) && value <= lo_hi >> 16;
}

struct option_walk {
	__u8 opt[64];
	__u32 at, len, want;
	int found;
};

static long option_step(__u32 n, struct option_walk *w)
{
	__u32 at = w->at, size = 1;

	if (at >= w->len)
		return 1;
	__u32 kind = w->opt[masked(at, 63)];
	if (kind == w->want) {
		w->found = 1;
		return 1;
	}
	/* A length byte beyond the options is not looked at: the walk ends either way. */
	if (kind >= 2 && at + 1 < w->len)
		size = w->opt[masked(at + 1, 63)];
	w->at = at + (size ? size : 1);
	return 0;
}

/* Is option `want` among the options of a TCP header with `optlen` bytes of them? Walks as netfilter does: NOP and END are one
 * byte (END does not end the walk), a zero length counts as one. */
static __always_inline int tcp_option(struct __sk_buff *skb, struct bt_pkt *p, __u8 want, __u32 optlen)
{
	struct option_walk w = { .len = optlen, .want = want };

	if (optlen == 0)
		return 0;
	if (20 + optlen > l4_bytes(p) || optlen > 40)
		return -1;
	if (bpf_skb_load_bytes(skb, l4_at(p) + 20, w.opt, length(optlen, 63)))
		return -1;
	bpf_loop(40, option_step, &w, 0);
	return w.found;
}

__noinline int bt_op_tcp(struct __sk_buff *skb, __u32 how, __u32 sports, __u32 dports, __u32 more)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct {
		__be16 source, dest;
		__be32 seq, ack;
		__u8 doff, flags;
		__be16 window, check, urg;
	} th;

	if (!p)
		return -1;
	if (p->frag_off)
		return BT_FAMILY == 4 && p->frag_off == 1 ? -1 : 0;
	if (l4_bytes(p) < sizeof(th) || bpf_skb_load_bytes(skb, l4_at(p), &th, sizeof(th)))
		return -1;
	if (how >> 16 == 0) {
		if (in_range(bpf_ntohs(th.source), sports) == !!(how & OPF_INV_SPORT))
			return 0;
		if (in_range(bpf_ntohs(th.dest), dports) == !!(how & OPF_INV_DPORT))
			return 0;
		if (((th.flags & more & 0xff) == (more >> 8 & 0xff)) == !!(how & OPF_INV_TCP_FLAGS))
			return 0;
	}
	if (more >> 16 & 0xff) {
		__u32 header = (th.doff >> 4) * 4;
		if (header < sizeof(th))
			return -1;
		int found = tcp_option(skb, p, more >> 16 & 0xff, header - sizeof(th));
		if (found < 0)
			return -1;
		return found != !!(how & OPF_INV_TCP_OPTION);
	}
	return 1;
}

__noinline int bt_op_udp(struct __sk_buff *skb, __u32 how, __u32 sports, __u32 dports)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__be16 ports[4];

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < sizeof(ports) || bpf_skb_load_bytes(skb, l4_at(p), ports, sizeof(ports)))
		return -1;
	return in_range(bpf_ntohs(ports[0]), sports) != !!(how & OPF_INV_SPORT) &&
	       in_range(bpf_ntohs(ports[1]), dports) != !!(how & OPF_INV_DPORT);
}

__noinline int bt_op_icmp(struct __sk_buff *skb, __u32 how, __u32 want)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u8 ih[8];

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < sizeof(ih) || bpf_skb_load_bytes(skb, l4_at(p), ih, sizeof(ih)))
		return -1;
	bool holds = (BT_FAMILY == 4 && (want & 0xff) == 0xff) ||
		     (ih[0] == (want & 0xff) && ih[1] >= (want >> 8 & 0xff) && ih[1] <= (want >> 16 & 0xff));
	return holds != (how & OPF_INVERT);
}

/* side: 0 source, 1 destination, 2 either; at: line of the ranges. */
__noinline int bt_op_multiport(struct __sk_buff *skb, __u32 how, __u32 side, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__be16 ports[2];
	struct bt_line *l;
	void *img;

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < sizeof(ports) || bpf_skb_load_bytes(skb, l4_at(p), ports, sizeof(ports)))
		return -1;
	img = image(p->slot);
	l = img ? line(img, at) : NULL;
	if (!l)
		return -1;
	__u32 src = bpf_ntohs(ports[0]), dst = bpf_ntohs(ports[1]), count = how >> 16;
	bool holds = false;
	for (__u32 i = 0; i < 15; i++) {
		if (i >= count)
			break;
		__u32 range = l->w[i];
		if ((side != 1 && in_range(src, range)) || (side != 0 && in_range(dst, range))) {
			holds = true;
			break;
		}
	}
	return holds != (how & OPF_INVERT);
}
