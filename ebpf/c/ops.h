/* SPDX-License-Identifier: GPL-2.0-only */
/* The checks of a rule that its record does not hold (abi::ops), with netfilter's semantics. Include ct.h first: it gives
 * bt_conn_of() and bt_ct_state_bits().
 *
 * A check answers 1 (holds), 0 (does not), -1 (netfilter's hotdrop: the packet is dropped at once) or OP_DOOMED (it holds, and the packet
 * is dropped once the rule is done). Families that carry code or
 * state are global functions, verified once each; their op travels in scalars: `how` = flags | a << 16, then b, c, d. */
#pragma once

#include "bt.h"
#include "ops_addr.h"
#include "ops_arg.h"
#include "ops_l4.h"
#include "ops_packet.h"
#include "ops_bridge.h"
#include "ops_ct.h"
#include "ops_state.h"
#include "ops_time.h"
#include "ops_words.h"
#include "ops_transport.h"
#include "ops_route.h"
#include "ops_search.h"
#if BT_FAMILY == 6
#include "ops_ext6.h"
#endif
#include "ops_stateful.h"
#include "recent.h"
#include "hashlimit.h"
#include "rateest.h"
#include "ops_conn.h"
#include "connlimit.h"
#include "socket.h"
#include "ops_cgroup.h"
#include "ops_set.h"

#define OP_HOTDROP (-1)

/* A check of a part; no image asks for it where that is not loaded. */
#define IN_PART(flag, check) (has_part(flag) ? (check) : OP_HOTDROP)

/* One op. Not CT, which governs those after it. */
static __always_inline int op_holds(struct __sk_buff *skb, struct bt_pkt *p, const struct bt_op *op)
{
	__u32 how = op->flags | (__u32)op->a << 16;
	bool invert = how & OPF_INVERT;
	struct bt_conn *ct;

	switch (op->op) {
	case OP_MARK:
		return ((p->mark & op->c) == op->b) != invert;
	case OP_RANDOM:
		return ((bpf_get_prandom_u32() & 0x7fffffff) < op->b) != invert;
	case OP_STATE:
		return !!(bt_ct_state_bits(p) & ~(CTS_SNAT | CTS_DNAT) & op->a) != invert;
	case OP_CONNMARK:
		ct = bt_conn_of(p);
		return ct && ((ct->mark & op->c) == op->b) != invert;
	case OP_ADDRTYPE:
		return bt_op_addrtype(skb, how, op->b);
	case OP_TCP:
		return bt_op_tcp(skb, how, op->b, op->c, op->d);
	case OP_UDP:
		return bt_op_udp(skb, how, op->b, op->c);
	case OP_ICMP:
		return bt_op_icmp(skb, how, op->b);
	case OP_MULTIPORT:
		return bt_op_multiport(skb, how, op->b, op->c);
	case OP_NTH:
		return bt_op_nth(skb, how, op->b, op->c, op->d);
	case OP_LIMIT:
		return bt_op_limit(skb, op->b, op->c, op->d);
	case OP_RECENT:
		return IN_PART(IMG_RECENT, bt_op_recent(skb, how, op->b, op->c));
	case OP_MAC:
	case OP_OWNER:
	case OP_PKTTYPE:
	case OP_LENGTH:
	case OP_TTL:
	case OP_TOS:
	case OP_ECN:
	case OP_IPRANGE:
	case OP_POLICY:
		return bt_op_packet(skb, op->op, how, op->b, op->c);
	case OP_SCTP:
		return IN_PART(IMG_SELDOM, bt_op_sctp(skb, how, op->b, op->c, op->d));
	case OP_DCCP:
		return IN_PART(IMG_SELDOM, bt_op_dccp(skb, how, op->b, op->c, op->d));
	case OP_SPI:
		return IN_PART(IMG_SELDOM, bt_op_spi(skb, how, op->b, op->c));
	case OP_TCPMSS:
		return IN_PART(IMG_SELDOM, bt_op_tcpmss(skb, how, op->b));
#if BT_FAMILY == 6
	case OP_AH6:
		return IN_PART(IMG_HEADERS, bt_op_ah6(skb, how, op->b, op->c, op->d));
	case OP_IPV6HEADER:
		return IN_PART(IMG_HEADERS, bt_op_ipv6header(skb, how, op->b));
	case OP_FRAG:
		return IN_PART(IMG_HEADERS, bt_op_frag(skb, how, op->b, op->c));
	case OP_RT:
		return IN_PART(IMG_HEADERS, bt_op_rt(skb, op->b));
	case OP_OPTS:
		return IN_PART(IMG_HEADERS, bt_op_opts(skb, how, op->b, op->c, op->d));
	case OP_MH:
		return IN_PART(IMG_HEADERS, bt_op_mh(skb, how, op->b));
	case OP_SRH:
		return IN_PART(IMG_HEADERS, bt_op_srh(skb, op->b));
	case OP_EUI64:
		return IN_PART(IMG_HEADERS, bt_op_eui64(skb));
#endif
	case OP_DEVGROUP:
		return IN_PART(IMG_SELDOM, bt_op_devgroup(skb, how, op->b));
	case OP_REALM:
		return ((bpf_get_route_realm(skb) & op->c) == op->b) != invert;
	case OP_RPFILTER:
		return IN_PART(IMG_SELDOM, bt_op_rpfilter(skb, how));
	case OP_CGROUP_PATH:
		return IN_PART(IMG_SELDOM, bt_op_cgroup_path(skb, how, op->b, op->c));
	case OP_CGROUP:
		return IN_PART(IMG_SELDOM, bt_op_cgroup(skb, how, op->b));
	case OP_STRING:
		return IN_PART(IMG_SELDOM, bt_op_string(skb, how, op->b));
	case OP_BPF:
		return IN_PART(IMG_SELDOM, bt_op_bpf(skb, how, op->b));
	case OP_U32:
		return IN_PART(IMG_SELDOM, bt_op_u32(skb, how, op->b));
	case OP_TIME:
		return IN_PART(IMG_SELDOM, bt_op_time(skb, op->b));
	case OP_CPU:
		return (bpf_get_smp_processor_id() == op->b) != invert;
	case OP_QUOTA:
		return IN_PART(IMG_SELDOM, bt_op_quota(skb, how, op->b, op->c, op->d));
	case OP_CLUSTER:
		return IN_PART(IMG_SELDOM, bt_op_cluster(skb, how, op->b, op->c));
	case OP_HASHLIMIT:
		return IN_PART(IMG_SELDOM, bt_op_hashlimit(skb, how, op->b));
	case OP_CONNBYTES:
		return IN_PART(IMG_SELDOM, bt_op_connbytes(skb, op->a, op->b));
	case OP_CONNLABEL:
		return IN_PART(IMG_SELDOM, bt_op_connlabel(skb, how, op->a, op->b));
	case OP_CONNLIMIT:
		return IN_PART(IMG_SELDOM, bt_op_connlimit(skb, how, op->b, op->c, op->d));
	case OP_SOCKET:
		return IN_PART(IMG_DEFRAG, bt_op_socket(skb, how));
	case OP_RATEEST:
		return IN_PART(IMG_SELDOM, bt_op_rateest(skb, how, op->b, op->c, op->d));
	case OP_SET:
		return IN_PART(IMG_SETS, bt_op_set(skb, how, op->b, op->c));
	case OP_PHYSDEV:
		return IN_PART(IMG_SELDOM, bt_op_physdev(skb, how, op->b, op->c));
	case OP_HELPER:
		return invert; /* no connection has a helper */
	case OP_CT_PROTO:
	case OP_CT_ADDR:
	case OP_CT_PORT:
	case OP_CT_STATUS:
	case OP_CT_EXPIRES:
	case OP_CT_DIR:
		return IN_PART(IMG_CONNTRACK, bt_op_ct(skb, op->op, how, op->b, op->c));
	}
	return OP_HOTDROP; /* an op that this program does not know: the compiler makes none */
}

struct ops_walk {
	struct __sk_buff *skb;
	struct bt_pkt *p;
	void *img;
	__u32 at;
	int result;
	bool doomed;
};

static long ops_step(__u32 n, struct ops_walk *w)
{
	struct bt_pkt *p = w->p;
	__u32 at = w->at;
	struct bt_line *l;
	struct bt_op *op;

	if (at >= p->op_count)
		return 1;
	l = line(w->img, p->op_line + at / 4);
	if (!l) {
		w->result = OP_HOTDROP;
		return 1;
	}
	op = (struct bt_op *)l + (at & 3);
	w->at = at + 1;
	if (op->op == OP_CT) {
		/* `-m conntrack`: the state first; without a connection nothing more is asked. */
		__u32 bits = bt_ct_state_bits(p);
		if (op->b && !!(bits & op->a) == !!(op->flags & OPF_INVERT))
			w->result = 0;
		else if (!bt_conn_of(p)) {
			if (op->b)
				w->at += op->c;
			else
				w->result = 0;
		}
	} else {
		w->result = op_holds(w->skb, p, op);
		if (w->result == OP_DOOMED) {
			w->doomed = true;
			w->result = 1;
		}
	}
	return w->result != 1;
}

/* 1: every op from p->op_line on holds; 0: one does not; -1: hotdrop; OP_DOOMED. In order, and no further than the first that fails. */
__noinline int bt_ops(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	if (!p)
		return OP_HOTDROP;
	struct ops_walk w = { .skb = skb, .p = p, .img = image(p->slot), .result = 1 };
	if (!w.img)
		return OP_HOTDROP;
	bpf_loop(BT_MAX_OPS, ops_step, &w, 0);
	if (w.doomed)
		return w.result == 1 ? OP_DOOMED : OP_HOTDROP;
	return w.result;
}
