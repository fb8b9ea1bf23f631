/* SPDX-License-Identifier: GPL-2.0-only */
/* Connection tracking: what a packet belongs to, as netfilter's nf_conntrack_in, confirm, and ICMP errors.
 *
 * Differs from legacy: connection helpers (ftp, sip, ...) do not exist; a tuple is one connection's in a zone, in whichever direction it is in that zone. DCCP is generic, as from Linux 6.16 on. */
#pragma once

#include "ct_check.h"
#include "frag.h"
#include "tcp.h"

/* The packet's tuple into scratch `t`, from the header that bt_ct_l4 or bt_ct_ports read. */
static __always_inline void tuple_addrs(struct bt_ctx *x, const struct bt_pkt *p)
{
	x->t.saddr = p->saddr;
	x->t.daddr = p->daddr;
	x->t.proto = p->proto;
	x->t.kind = 0;
	x->t.zone = 0;
}

/* The zones of the packet's directions, as CT asked for them. */
static __always_inline void tuple_zones(struct bt_ctx *x, const struct bt_pkt *p)
{
	__u16 id = p->track & TRACK_MARK ? p->mark : p->zone;

	x->zone[0] = p->track & TRACK_ORIG ? id : 0;
	x->zone[1] = p->track & TRACK_REPLY ? id : 0;
}

/* Looks scratch `t` up in the packet's zones, as bt_ct_lookup: an original tuple in one, a reply's in the other. */
static __always_inline __u32 ct_lookup_zones(struct bt_ctx *x)
{
	__u32 hit;

	x->t.zone = x->zone[0];
	hit = bt_ct_lookup(0);
	if (x->zone[0] == x->zone[1] || (hit && !(hit & 1)))
		return hit;
	x->t.zone = x->zone[1];
	hit = bt_ct_lookup(0);
	if (hit & 1)
		return hit;
	x->t.zone = x->zone[0];
	return 0;
}

static __always_inline bool icmp_is_error(__u32 type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

#if BT_FAMILY == 4
/* The tuple of the packet inside an ICMP error into scratch `t`. 0, or -1 if there is none to be read. */
__noinline int bt_ct_inner(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();
	__u8 ip[20], l4[8] = {};
	__u32 at, ihl;

	if (!x)
		return -1;
	at = x->l4off + 8;
	if (bpf_skb_load_bytes(skb, at, ip, sizeof(ip)))
		return -1;
	ihl = (ip[0] & 15) * 4;
	if (ip[0] >> 4 != 4 || ihl < 20)
		return -1;
	if (((__u32)ip[6] << 8 | ip[7]) & 0x1fff)
		return -1;
	x->t.proto = ip[9];
	x->t.kind = 0;
	x->t.zone = 0;
	__builtin_memcpy(&x->t.saddr, ip + 12, 4);
	__builtin_memcpy(&x->t.daddr, ip + 16, 4);
	x->t.sport = x->t.dport = 0;
	switch (ip[9]) {
	case BT_ICMP:
		if (bpf_skb_load_bytes(skb, at + ihl, l4, 8))
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
		if (bpf_skb_load_bytes(skb, at + ihl, l4, 4))
			return -1;
		__builtin_memcpy(&x->t.sport, l4, 2);
		__builtin_memcpy(&x->t.dport, l4 + 2, 2);
		break;
	case IPPROTO_GRE:
		return ct_gre(skb, x, at + ihl);
	default:
		break;
	}
	return 0;
}
#endif

/* The directions that a search may find. */
#define SEARCH_ORIG (1u << DIR_ORIG)
#define SEARCH_REPLY (1u << DIR_REPLY)
#define SEARCH_BOTH (SEARCH_ORIG | SEARCH_REPLY)
__noinline int bt_ct_search(__u32 dirs);

/* Whether an ICMP error of this host is about a packet that UDP had taken in: the kernel takes the connection off what a protocol of
 * its own takes. */
static __always_inline bool about_delivered(__u32 type, __u32 code)
{
	return BT_FAMILY == 6 ? type == 1 && code == 4 : type == 3 && code == 3;
}

struct socket___stack {
	void *file;
} __attribute__((preserve_access_index));
struct sock___stack {
	struct socket___stack *sk_socket;
} __attribute__((preserve_access_index));
struct sk_buff___stack {
	struct sock___stack *sk;
} __attribute__((preserve_access_index));

/* Whether a socket of the kernel's own sends the packet: one without a file. */
static __always_inline bool stack_socket(struct __sk_buff *skb)
{
	struct sk_buff___stack *k = (void *)skb;
	struct socket___stack *socket = BPF_CORE_READ(k, sk, sk_socket);

	return socket && !BPF_CORE_READ(socket, file);
}

/* Whether a packet at OUTPUT is an ICMP error that the stack made about one that it holds, and not a program's own. */
__noinline int bt_stack_error(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();

	if (!p || p->hook != H_OUT || p->proto != BT_ICMP || p->frag_off || !stack_socket(skb))
		return 0;
	/* IPv6's redirect is made otherwise. */
	return (BT_FAMILY == 6 ? p->icmp_type < 128 : icmp_is_error(p->icmp_type)) && !about_delivered(p->icmp_type, p->icmp_code);
}

/* Whether the stack sends an ICMP reply: its ICMP socket is taken meanwhile, and no error comes of what becomes of the reply. */
__noinline int bt_stack_reply(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();

	if (!p || p->hook != H_OUT || p->proto != BT_ICMP || p->frag_off)
		return 0;
	return (BT_FAMILY == 6 ? p->icmp_type == 129 : p->icmp_type == 0 || p->icmp_type == 14) && stack_socket(skb);
}

/* An ICMP error: RELATED to the connection that the inner packet belongs to, if the error goes where that packet came from. */
static __always_inline void ct_icmp_error(struct __sk_buff *skb, struct bt_pkt *p, struct bt_ctx *x)
{
	struct bt_conn *c;
	__u32 hit;

	if (bt_ct_inner(skb))
		return;
	if (bt_stack_error(skb)) {
		/* This host made it about a packet that it holds: one that may be translated already, of a connection that may not be
		 * confirmed yet. Netfilter hands the connection over from that packet, whatever zone the error is in. */
		hit = bt_ct_search(SEARCH_BOTH);
		if (!hit)
			return;
		p->ct = hit >> 1;
		p->ctinfo = CI_RELATED;
		p->ctdir = !(hit & 1);
		/* Of what looks the same both ways, the error is about the first way. */
		if (addr_eq(x->t.saddr, x->t.daddr) && x->t.sport == x->t.dport)
			p->ctdir = DIR_REPLY;
		return;
	}
	x->cur = x->t;
	tuple_invert(&x->t, &x->cur);
	hit = ct_lookup_zones(x);
	if (!hit)
		return;
	c = bt_conn_at((hit >> 1) - 1);
	if (!c || !(c->status & ST_CONFIRMED))
		return;
	if (!addr_eq(p->daddr, hit & 1 ? c->reply.daddr : c->orig.daddr))
		return;
	p->ct = hit >> 1;
	p->ctinfo = CI_RELATED;
	p->ctdir = hit & 1;
}

/* Counts the packet, or what a later fragment adds to it, for its connection. */
__noinline int bt_ct_account(__u32 i, __u32 dir)
{
	struct bt_pkt *p = pkt();
	struct bt_conn *c = bt_conn_at(i);
	struct bt_acct *a;

	if (!p || !c || !(c->status & ST_ACCT))
		return 0;
	a = ct_acct_at(i);
	if (!a)
		return 0;
	__sync_fetch_and_add(dir ? &a->packets[1] : &a->packets[0], p->npkts);
	__sync_fetch_and_add(dir ? &a->bytes[1] : &a->bytes[0], p->nbytes);
	return 0;
}

/* What a new connection has besides: counts and labels, if rules ask for them. Status bits. */
static __always_inline __u32 ct_extras(__u32 i)
{
	struct bt_pkt *p = pkt();
	struct bt_acct *a;
	__u32 bits = 0;

	if (!p || !(p->img_flags & (IMG_ACCT | IMG_LABELS)))
		return 0;
	if (p->img_flags & IMG_LABELS)
		bits |= ST_LABELS;
	a = p->img_flags & IMG_ACCT ? ct_acct_at(i) : NULL;
	if (a) {
		__builtin_memset(a, 0, sizeof(*a));
		bits |= ST_ACCT;
	}
	return bits;
}

/* A new connection for the tuple in scratch. Number + 1; 0: such a packet may not begin one; or -stat. Finding that another CPU
 * was faster returns number + 1 of that CPU's. */
__noinline int bt_ct_new(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 n, i, val, secs, kind, old;

	ARG_USED(skb);
	if (!x || !ctl)
		return 0;
	if (x->t.proto == BT_ICMP) {
		kind = x->t.dport >> 8;
		if (!icmp_opens(kind))
			return 0;
	} else if (x->t.proto == IPPROTO_TCP) {
		kind = tcp_kind(x->tflags);
		if (kind != TCPI_SYN && (kind != TCPI_ACK || !ctl->tcp_loose))
			return 0;
	} else if (x->t.proto == IPPROTO_SCTP) {
		if (!sctp_begins(x))
			return 0;
	}
	bt_ct_scan(0);
	n = bt_ct_alloc(0);
	if (!n)
		return -STAT_DROP_TABLE_FULL;
	i = n - 1;
	c = bt_conn_at(i);
	if (!c)
		return -STAT_DROP_TABLE_FULL;
	__builtin_memset(c, 0, sizeof(*c));
	c->orig = x->t;
	tuple_invert(&c->reply, &x->t);
	c->reply.zone = x->zone[1];
	c->born = x->now;
	c->expires = x->now + CT_UNCONFIRMED;
	c->stream_ts = x->now + 2 * SEC_NS;
	c->dnat_slot = ~0u;
	switch (x->t.proto) {
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE: secs = ctl->timeouts[TO_UDP]; break;
	case BT_ICMP: secs = ctl->timeouts[TO_ICMP]; break;
	case IPPROTO_SCTP: secs = ctl->timeouts[TO_SCTP]; break;
	case IPPROTO_GRE: secs = GRE_SECS; break;
	default: secs = ctl->timeouts[TO_GENERIC];
	}
	CT_TIMEOUT(c) = secs;
	if (x->t.proto == IPPROTO_TCP)
		tcp_begin(c, x);
	else if (x->t.proto == IPPROTO_SCTP)
		sctp_begin(c, x);
	__sync_lock_test_and_set(&c->status, ST_LIVE | ct_extras(i));
	val = i << 1;
	key_set(x, &c->orig, 0);
	if (bt_key_claim(val)) {
		/* Another CPU made it just now, or the key's lines are full. */
		bt_ct_reap(i);
		n = bt_ct_lookup(0);
		return n ? n >> 1 : -STAT_DROP_TABLE_FULL;
	}
	old = __sync_fetch_and_or(&c->status, ST_KEY_ORIG);
	if (!(old & ST_LIVE) || (old & ST_REAPED))
		key_delete(x, &c->orig, i, 0);
	if (ct_zoned(c)) {
		key_zoned(x, &c->orig, val);
		key_zoned(x, &c->reply, val | 1);
	}
	stat_add(STAT_CONN_NEW);
	return n;
}

static __always_inline void udp_packet(struct bt_conn *c, const struct bt_ctx *x, const struct bt_control *ctl)
{
	if (!(c->status & ST_SEEN_REPLY)) {
		ct_refresh(c, x->now, ctl->timeouts[TO_UDP]);
	} else if ((__s64)(x->now - c->stream_ts) > 0) {
		ct_refresh(c, x->now, ctl->timeouts[TO_UDP_STREAM]);
		if (!(c->status & ST_ASSURED))
			__sync_fetch_and_or(&c->status, ST_ASSURED);
	} else {
		ct_refresh(c, x->now, ctl->timeouts[TO_UDP]);
	}
}

/* Finds or makes the connection of scratch `t`. 0, -stat, or 1 to be called again. */
__noinline int bt_ct_find(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 i, dir, status;
	int hit, r;

	if (!p || !x || !ctl)
		return 0;
	hit = ct_lookup_zones(x);
	if (hit > 0) {
		i = ((__u32)hit >> 1) - 1;
		dir = hit & 1;
	} else {
		hit = bt_ct_new(skb);
		if (hit <= 0)
			return hit;
		i = hit - 1;
		dir = DIR_ORIG;
	}
	c = bt_conn_at(i);
	if (!c)
		return 0;
	/* Two CPUs at once: the one that came second may be in the other direction. */
	if (!tuple_eq(dir ? &c->reply : &c->orig, &x->t)) {
		if (!tuple_eq(&c->reply, &x->t))
			return 1;
		dir = DIR_REPLY;
	}
	status = c->status;
	if (unlikely(status & ST_LEFT) && !(status & ST_CONFIRMED)) {
		bt_ct_reap(i);
		return 1;
	}
	x->refreshed = p->proto != IPPROTO_TCP;
	if (p->proto == IPPROTO_TCP) {
		r = bt_tcp_packet(skb, i, dir);
		if (r == TCP_REPEAT)
			return 1;
		if (r == TCP_INVALID) {
			if (!(status & ST_CONFIRMED) && !CT_REFS(c))
				bt_ct_reap(i);
			return 0;
		}
	} else if (p->proto == IPPROTO_SCTP) {
		if (!bt_sctp_packet(skb, i, dir)) {
			if (!(status & ST_CONFIRMED) && !CT_REFS(c))
				bt_ct_reap(i);
			return 0;
		}
	} else if (p->proto == IPPROTO_UDP || p->proto == IPPROTO_UDPLITE) {
		udp_packet(c, x, ctl);
	} else if (p->proto == BT_ICMP) {
		ct_refresh(c, x->now, ctl->timeouts[TO_ICMP]);
	} else if (p->proto == IPPROTO_GRE) {
		ct_refresh(c, x->now, status & ST_SEEN_REPLY ? GRE_STREAM_SECS : GRE_SECS);
		if ((status & ST_SEEN_REPLY) && !(status & ST_ASSURED))
			__sync_fetch_and_or(&c->status, ST_ASSURED);
	} else {
		ct_refresh(c, x->now, ctl->timeouts[TO_GENERIC]);
	}
	if (p->img_flags & IMG_ACCT && x->refreshed)
		bt_ct_account(i, dir);
	p->ct = i + 1;
	p->ctdir = dir;
	p->ctinfo = dir == DIR_REPLY || (status & ST_SEEN_REPLY) ? CI_ESTABLISHED : CI_NEW;
	if (!(status & ST_CONFIRMED))
		__sync_fetch_and_add(&CT_REFS(c), 1);
	if (dir == DIR_REPLY && !(status & ST_SEEN_REPLY))
		__sync_fetch_and_or(&c->status, ST_SEEN_REPLY);
	if (unlikely(status & ST_AT_INPUT) && dir == DIR_REPLY && p->hook == H_OUT)
		__sync_fetch_and_and(&c->status, ~ST_AT_INPUT);
	return 0;
}

/* At PREROUTING or OUTPUT: p->ct, p->ctinfo and p->ctdir. 0, or -stat when the packet must be dropped. */
__noinline int bt_ct_in(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	int r;

	if (!p || !x)
		return 0;
	p->ct = 0;
	p->ctdir = DIR_ORIG;
	if (p->track & TRACK_NOT) {
		p->ctinfo = CI_UNTRACKED;
		return 0;
	}
	tuple_zones(x, p);
	if (x->frag_real) {
		p->ct = x->f_ct;
		p->ctinfo = x->f_info == CI_NONE ? CI_INVALID : x->f_info;
		p->ctdir = x->f_dir;
		if (p->img_flags & IMG_ACCT && p->ct && (p->ctinfo == CI_NEW || p->ctinfo == CI_ESTABLISHED))
			bt_ct_account(p->ct - 1, p->ctdir);
		return 0;
	}
	p->ctinfo = CI_INVALID;
	x->now = ct_now();
	r = bt_ct_l4(skb);
	if (r == 0) {
		tuple_addrs(x, p);
		r = bt_ct_find(skb);
		if (r == 1)
			r = bt_ct_find(skb);
		if (r < 0)
			return r;
	} else if (r == L4_UNTRACKED) {
		p->ctinfo = CI_UNTRACKED;
	} else if (r > 0) {
		ct_icmp_error(skb, p, x);
	}
	if (p->flags & P_MORE)
		frag_note(p);
	return 0;
}

/* At the end of POSTROUTING or INPUT: the connection stays. 0, or -stat: another connection has its tuple. */
__noinline int bt_ct_confirm(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 i, old, set, status;

	ARG_USED(skb);
	if (!p || !x || !p->ct)
		return 0;
	i = p->ct - 1;
	c = bt_conn_at(i);
	if (!c)
		return 0;
	status = c->status;
	if (status & ST_CONFIRMED)
		return 0;
	if (!(status & ST_LIVE) || (status & ST_DYING))
		return -STAT_DROP_TABLE_FULL;
	if (!(status & ST_KEY_REPLY) && key_claim_reply(x, c, i)) {
		if (c->status & ST_CONFIRMED)
			return 0;
		bt_ct_reap(i);
		return -STAT_DROP_NAT_EXHAUSTED;
	}
	c->expires = ct_now() + CT_TIMEOUT(c) * SEC_NS;
	/* What is for this host by lo needs no route. */
	set = p->hook == H_IN && !(p->flags & P_LOCAL) ? ST_CONFIRMED | ST_AT_INPUT : ST_CONFIRMED;
	old = __sync_fetch_and_or(&c->status, set);
	if (!(old & ST_LIVE) || (old & ST_DYING))
		return -STAT_DROP_TABLE_FULL;
	return 0;
}

static __always_inline bool confirmed_at_input(const struct bt_pkt *p)
{
	struct bt_conn *c = bt_conn_of(p);

	return c && c->status & ST_AT_INPUT;
}

/* A packet is to be forwarded whose connection INPUT confirmed. Rules are asked INPUT of what has no route as well, which the stack drops afterwards;
 * netfilter drops it before, and the connection with it. So now that there is a route this is a new one, whose source is still to be translated.
 * 0, or -stat. */
__noinline int bt_ct_reopen(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 i, gone = ST_AT_INPUT | ST_CONFIRMED | ST_SRC_NAT_DONE | ST_SEEN_REPLY | ST_ASSURED, status;

	ARG_USED(skb);
	if (!p || !x || !p->ct || p->ctdir != DIR_ORIG || p->ctinfo == CI_RELATED)
		return 0;
	i = p->ct - 1;
	c = bt_conn_at(i);
	if (!c || !(c->status & ST_AT_INPUT))
		return 0;
	if (!ct_lock(c, i))
		return -STAT_DROP_TABLE_FULL;
	status = c->status;
	bool translated = (status & ST_AT_INPUT) && (status & ST_SRC_NAT);
	if ((status & ST_LIVE) && (status & ST_AT_INPUT) && !translated) {
		/* Of a translated destination the key of the other direction is there from the beginning. */
		if (!(status & ST_DST_NAT)) {
			key_delete(x, &c->reply, i, 0);
			gone |= ST_KEY_REPLY;
		}
		c->expires = ct_now() + CT_UNCONFIRMED;
		CT_REFS(c) = 1;
		__sync_fetch_and_and(&c->status, ~gone);
	}
	ct_unlock(c);
	/* INPUT's translation is of no use here: what is sent again begins anew. */
	if (translated) {
		bt_ct_reap(i);
		return -STAT_DROP_NO_ROUTE;
	}
	p->ctinfo = CI_NEW;
	return 0;
}

/* The packet was dropped: an unconfirmed connection that no other packet shares goes with it. An error or answer of this host
 * stands for the packet that it is about; not so a redirect, whose packet goes on. */
__noinline int bt_ct_abandon(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_conn *c;
	__u32 i;

	ARG_USED(skb);
	if (!p || !p->ct)
		return 0;
	if (p->ctinfo == CI_RELATED && (!(p->flags & P_LOCAL) || (p->proto == BT_ICMP && p->icmp_type == BT_ICMP_REDIRECT)))
		return 0;
	i = p->ct - 1;
	c = bt_conn_at(i);
	if (!c || !(c->status & ST_LIVE) || (c->status & ST_CONFIRMED))
		return 0;
	if (p->copied) {
		__sync_fetch_and_or(&c->status, ST_LEFT);
		return 0;
	}
	if ((__s32)__sync_fetch_and_add(&CT_REFS(c), -1) <= 1 && !(c->status & ST_CONFIRMED))
		bt_ct_reap(i);
	return 0;
}

#include "ct_hint.h"
