/* SPDX-License-Identifier: GPL-2.0-only */
/* REJECT: the packet itself is turned into its answer and sent to where it came from, as a packet that this host made.
 *
 * - The answer is rebuilt from nothing but the bytes that it quotes, so no offload state of the packet stays (answer.h).
 * - To a sender elsewhere it goes by bpf_redirect_neigh to the egress of the device that the FIB gives, to a local sender to lo's.
 *   It carries INJ_LOCAL_OUT | RELATED (or UNTRACKED) << 8 | direction << 16 and its connection: OUTPUT and POSTROUTING are run there.
 * - Legacy's rate limits of ICMP errors hold here too (icmp.h).
 *
 * Deviations:
 * - options of the rejected packet are not echoed in the ICMP error;
 * - fwmark_reflect and icmp_errors_use_inbound_ifaddr count as 0;
 * - an ICMP error to a local sender comes from the sender's own address, not from the primary address of its subnet;
 * - of a packet that legacy would have put together first (at INPUT, or with conntrack), the first fragment is answered, not the
 *   whole, and never by RST;
 * - connect() and sendto() of a local sender do not fail with EPERM, they see the answer alone;
 * - before Linux 6.7 a forwarded packet gets no ICMP error: the FIB does not tell the source address. */
#pragma once

#include "bt.h"
#include "answer.h"
#include "ops_bridge.h"
#include "icmp.h"
#include "tcp.h"

#if BT_FAMILY == 6
enum bt_reject_with { REJECT_RST = 6 };
#else
enum bt_reject_with {
	REJECT_NET, REJECT_HOST, REJECT_PROTO, REJECT_PORT, REJECT_ECHO, REJECT_NET_PROHIB, REJECT_HOST_PROHIB, REJECT_RST, REJECT_ADMIN,
};
#endif

struct reject_tcp {
	__be16 source, dest;
	__be32 seq, ack;
	__u8 doff, flags;
	__be16 window, check, urg;
};

#define TCP_FIN 1
#define TCP_SYN 2
#define TCP_RST 4
#define TCP_ACK 16

/* A RST about what a bridge shows goes out by the port that this came by, as if the one it was for had sent it: as a frame, which no rule sees. */
static __always_inline void reject_by_port(struct __sk_buff *skb, struct bt_pkt *p, struct bt_answer *a)
{
	__u8 eth[12];

	a->port = p->flags & P_LOCAL ? 0 : port_in(skb, p);
	/* A packet that was routed has another link header by now. */
	a->framed = a->port && (p->hook != H_FWD || p->ifout != skb->ifindex) && !bpf_skb_load_bytes(skb, 0, eth, sizeof(eth));
	if (!a->framed)
		return;
	__builtin_memcpy(a->eth, eth + 6, 6);
	__builtin_memcpy(a->eth + 6, eth, 6);
}

/* A TCP segment without RST, whole and intact, gets a RST that it will believe. */
__noinline int bt_reject_rst(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_answer *a = answer();
	struct answer_ip *ip;
	struct reject_tcp th, *out;

	if (!p || !a)
		return BT_DROP;
	if (p->proto != IPPROTO_TCP || a->frag & 0x1fff)
		return BT_DROP;
	__u32 bytes = answer_l4_bytes(p);
	if (bytes < sizeof(th) || bpf_skb_load_bytes(skb, answer_l4_at(p), &th, sizeof(th)))
		return BT_DROP;
	if (th.flags & TCP_RST || !answer_unicast(skb, p, a->from_daddr) || (BT_FAMILY == 6 && !answer_unicast(skb, p, a->from_saddr)))
		return BT_DROP;
	if (!bt_l4_sum_ok(skb))
		return BT_DROP;
	__u32 after = bpf_ntohl(th.seq) + !!(th.flags & TCP_SYN) + (th.flags & TCP_FIN) + bytes - (th.doff >> 4) * 4;

	a->saddr = a->from_daddr;
	a->proto = IPPROTO_TCP;
	a->tos = 0;
	if (answer_route(skb, p, a) < 0)
		return BT_DROP;
	ip = (struct answer_ip *)a->buf;
	out = (struct reject_tcp *)(a->buf + sizeof(*ip));
	answer_ip_header(a, ip, sizeof(*ip) + sizeof(*out));
#if BT_FAMILY == 4
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
#endif
	__builtin_memset(out, 0, sizeof(*out));
	out->source = th.dest;
	out->dest = th.source;
	out->doff = 5 << 4;
	out->flags = TCP_RST;
	if (th.flags & TCP_ACK) {
		out->seq = th.ack;
	} else {
		out->ack = bpf_htonl(after);
		out->flags |= TCP_ACK;
	}
	__s64 sum = answer_pseudo(ip->saddr, ip->daddr, IPPROTO_TCP, sizeof(*out));
	out->check = ~answer_fold(bpf_csum_diff(NULL, 0, (__u32 *)out, sizeof(*out), sum));
	answer_ip_sum(ip);
	reject_by_port(skb, p, a);
	bt_tcp_close(p->ct);
	return bt_answer_send(skb, sizeof(*ip) + sizeof(*out));
}

#if BT_FAMILY == 6
/* Whether the packet's sum is right, or has none to be right, as reject6_csum_ok: one without payload, or a later fragment, has not. */
static __always_inline bool reject_sum_ok(struct __sk_buff *skb, struct bt_pkt *p, struct bt_answer *a)
{
	if (answer_vouched(skb))
		return true;
	if (p->flags & P_BAD_EXT || p->proto == NEXT_NONE || !answer_l4_bytes(p) || a->frag & 0x1fff)
		return false;
	/* Where legacy would have put the fragments together, the first one's sum can't be checked. */
	if (a->frag & 0x2000 && p->img_flags & IMG_WHOLE)
		return true;
	return !icmp_has_sum(skb, p) || bt_l4_sum_ok(skb);
}

/* Sends the answer of p->reject (enum ip6t_reject_with). Returns what tc is to do: a redirect, or BT_DROP where nothing may be sent. */
__noinline int bt_reject(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_answer *a = answer();
	__u32 code;

	if (!p || !a || bt_stack_reply(skb) || !answer_begin(skb, p))
		return BT_DROP;
	if (p->reject == REJECT_RST)
		return bt_reject_rst(skb);
	code = p->reject < 5 ? p->reject : p->reject - 2u;
	if (p->reject == 5 || p->reject > 8 || !reject_sum_ok(skb, p, a))
		return BT_DROP;
	return bt_icmp_error(skb, 1, code, 0);
}
#else
/* Sends the answer of p->reject. Returns what tc is to do: a redirect, or BT_DROP where nothing may be sent. */
__noinline int bt_reject(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	int code;

	if (!p || bt_stack_reply(skb) || !answer_begin(skb, p))
		return BT_DROP;
	switch (p->reject) {
	case REJECT_NET:
		code = 0;
		break;
	case REJECT_HOST:
		code = 1;
		break;
	case REJECT_PROTO:
		code = 2;
		break;
	case REJECT_PORT:
		code = 3;
		break;
	case REJECT_NET_PROHIB:
		code = 9;
		break;
	case REJECT_HOST_PROHIB:
		code = 10;
		break;
	case REJECT_ADMIN:
		code = 13;
		break;
	case REJECT_RST:
		return bt_reject_rst(skb);
	default:
		return BT_DROP;
	}
	struct bt_answer *a = answer();
	if (!a || a->frag & 0x1fff)
		return BT_DROP;
	/* Where legacy would have put the fragments together, the first one's sum can't be checked. */
	bool part = a->frag & 0x2000 && (p->hook == H_IN || p->img_flags & IMG_WHOLE);
	if (!part && icmp_has_sum(skb, p) && !bt_l4_sum_ok(skb))
		return BT_DROP;
	return bt_icmp_error(skb, 3, code, 0);
}
#endif
