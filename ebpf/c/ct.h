/* SPDX-License-Identifier: GPL-2.0-only */
/* Connection tracking: what a packet belongs to, as netfilter's nf_conntrack_in, confirm, and ICMP errors.
 *
 * Differs from legacy: SCTP is tracked by ports: no states after the first packet, no check of its CRC; connection helpers (ftp, sip, ...)
 * and zones do not exist. DCCP is generic, as from Linux 6.16 on. */
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
	x->t.pad[0] = x->t.pad[1] = x->t.pad[2] = 0;
}

static __always_inline bool icmp_is_error(__u32 type)
{
	return type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
}

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
	x->t.pad[0] = x->t.pad[1] = x->t.pad[2] = 0;
	__builtin_memcpy(&x->t.saddr, ip + 12, 4);
	__builtin_memcpy(&x->t.daddr, ip + 16, 4);
	x->t.sport = x->t.dport = 0;
	switch (ip[9]) {
	case IPPROTO_ICMP:
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
	default:
		break;
	}
	return 0;
}

/* An ICMP error: RELATED to the connection that the inner packet belongs to, if the error goes where that packet came from. */
static __always_inline void ct_icmp_error(struct __sk_buff *skb, struct bt_pkt *p, struct bt_ctx *x)
{
	struct bt_tuple inv;
	struct bt_conn *c;
	__u32 hit;

	if (bt_ct_inner(skb))
		return;
	tuple_invert(&inv, &x->t);
	x->t = inv;
	hit = bt_ct_lookup(0);
	if (!hit)
		return;
	c = bt_conn_at((hit >> 1) - 1);
	if (!c || !(c->status & ST_CONFIRMED))
		return;
	if (p->daddr != (hit & 1 ? c->reply.daddr : c->orig.daddr))
		return;
	p->ct = hit >> 1;
	p->ctinfo = CI_RELATED;
	p->ctdir = hit & 1;
}

#define SCTP_BEGIN (1u << 1 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 8 | 1u << 9 | 1u << 10)
#define SCTP_BEGIN_TAGGED (1u << 4 | 1u << 5 | 1u << 8)

/* A new connection for the tuple in scratch. Number + 1; 0: such a packet may not begin one; or -stat. Finding that another CPU
 * was faster returns number + 1 of that CPU's. */
__noinline int bt_ct_new(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	struct bt_tuple key;
	__u32 n, i, val, secs, kind, old;

	ARG_USED(skb);
	if (!x || !ctl)
		return 0;
	if (x->t.proto == IPPROTO_ICMP) {
		kind = x->t.dport >> 8;
		if (kind != 8 && kind != 13 && kind != 15 && kind != 17)
			return 0;
	} else if (x->t.proto == IPPROTO_TCP) {
		kind = tcp_kind(x->tflags);
		if (kind != TCPI_SYN && (kind != TCPI_ACK || !ctl->tcp_loose))
			return 0;
	} else if (x->t.proto == IPPROTO_SCTP) {
		/* First chunks that begin an association, as legacy was seen to take them. */
		kind = x->seq ? SCTP_BEGIN_TAGGED : SCTP_BEGIN;
		if (x->tflags > 31 || !(kind >> x->tflags & 1))
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
	key = x->t;
	c->orig = key;
	tuple_invert(&c->reply, &key);
	c->born = x->now;
	c->expires = x->now + CT_UNCONFIRMED;
	c->stream_ts = x->now + 2 * SEC_NS;
	c->dnat_slot = ~0u;
	switch (key.proto) {
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE: secs = ctl->timeouts[TO_UDP]; break;
	case IPPROTO_ICMP: secs = ctl->timeouts[TO_ICMP]; break;
	case IPPROTO_SCTP: secs = ctl->timeouts[TO_SCTP]; break;
	case IPPROTO_GRE: secs = GRE_SECS; break;
	default: secs = ctl->timeouts[TO_GENERIC];
	}
	CT_TIMEOUT(c) = secs;
	if (key.proto == IPPROTO_TCP)
		tcp_begin(c, x);
	__sync_lock_test_and_set(&c->status, ST_LIVE);
	val = i << 1;
	if (bpf_map_update_elem(&bt_tuples, &key, &val, BPF_NOEXIST)) {
		/* Another CPU made it just now, or the key table is full. */
		bt_ct_reap(i);
		n = bt_ct_lookup(0);
		return n ? n >> 1 : -STAT_DROP_TABLE_FULL;
	}
	old = __sync_fetch_and_or(&c->status, ST_KEY_ORIG);
	if (!(old & ST_LIVE) || (old & ST_REAPED))
		bpf_map_delete_elem(&bt_tuples, &key);
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
	hit = bt_ct_lookup(0);
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
	if (p->proto == IPPROTO_TCP) {
		r = bt_tcp_packet(skb, i, dir);
		if (r == TCP_REPEAT)
			return 1;
		if (r == TCP_INVALID) {
			if (!(status & ST_CONFIRMED) && !CT_REFS(c))
				bt_ct_reap(i);
			return 0;
		}
	} else if (p->proto == IPPROTO_UDP || p->proto == IPPROTO_UDPLITE) {
		udp_packet(c, x, ctl);
	} else if (p->proto == IPPROTO_ICMP) {
		ct_refresh(c, x->now, ctl->timeouts[TO_ICMP]);
	} else if (p->proto == IPPROTO_GRE) {
		ct_refresh(c, x->now, status & ST_SEEN_REPLY ? GRE_STREAM_SECS : GRE_SECS);
		if ((status & ST_SEEN_REPLY) && !(status & ST_ASSURED))
			__sync_fetch_and_or(&c->status, ST_ASSURED);
	} else {
		ct_refresh(c, x->now, ctl->timeouts[p->proto == IPPROTO_SCTP ? TO_SCTP : TO_GENERIC]);
	}
	p->ct = i + 1;
	p->ctdir = dir;
	p->ctinfo = dir == DIR_REPLY || (status & ST_SEEN_REPLY) ? CI_ESTABLISHED : CI_NEW;
	if (!(status & ST_CONFIRMED))
		__sync_fetch_and_add(&CT_REFS(c), 1);
	if (dir == DIR_REPLY && !(status & ST_SEEN_REPLY))
		__sync_fetch_and_or(&c->status, ST_SEEN_REPLY);
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
	if (p->notrack) {
		p->ctinfo = CI_UNTRACKED;
		return 0;
	}
	if (x->frag_real) {
		p->ct = x->f_ct;
		p->ctinfo = x->f_info == CI_NONE ? CI_INVALID : x->f_info;
		p->ctdir = x->f_dir;
		return 0;
	}
	p->ctinfo = CI_INVALID;
	x->now = bpf_ktime_get_ns();
	r = bt_ct_l4(skb);
	if (r == 0) {
		tuple_addrs(x, p);
		r = bt_ct_find(skb);
		if (r == 1)
			r = bt_ct_find(skb);
		if (r < 0)
			return r;
	} else if (r > 0) {
		ct_icmp_error(skb, p, x);
	}
	if (p->flags & P_MORE)
		frag_note(p);
	return 0;
}

/* Hints: a number of 26 bits, what it is to its connection, and a check, mixed so that every packet of a flow spreads over queues
 * as a flow hash would. */
static __always_inline __u32 hint_mix(__u32 v, __u32 magic)
{
	v ^= magic;
	v *= 0x9e3779b1u;
	v ^= v >> 15;
	v *= 0x85ebca6bu;
	return v ^ v >> 16;
}

static __always_inline __u32 hint_unmix(__u32 v, __u32 magic)
{
	v ^= v >> 16;
	v *= 0xa5cb9243u; /* both factors' inverses */
	v ^= v >> 15 ^ v >> 30;
	v *= 0x0e8b2f51u;
	return v ^ magic;
}

#define HINT_CHECK 5u

/* Of a packet that belongs to no connection: both ends of the way compute it alike. */
static __always_inline __u32 hint_none(const struct bt_pkt *p, __u32 info, __u32 magic)
{
	__u64 k = (__u64)p->saddr << 32 | p->daddr;

	k ^= (__u64)p->sport << 40 ^ (__u64)p->dport << 8 ^ p->proto;
	return bt_hash(k, (__u64)magic << 8 | info) >> 32;
}

/* At the end of ingress, for packets that go on to FORWARD, or of egress to lo: tells the program at the other end what this one
 * found, in skb->hash. */
__noinline int bt_ct_hint(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_pkt *p = pkt();
	__u32 v, info;

	if (!p || !ctl)
		return 0;
	if (!p->ct || p->ct >= CT_NUMBERS) {
		bpf_set_hash(skb, hint_none(p, p->ctinfo == CI_UNTRACKED ? CI_UNTRACKED : CI_INVALID, ctl->magic));
		return 0;
	}
	info = p->ctinfo == CI_NEW ? 0 : p->ctinfo == CI_ESTABLISHED ? 1 : 2;
	v = p->ct | info << 26 | (p->ctdir & 1u) << 28 | HINT_CHECK << 29;
	bpf_set_hash(skb, hint_mix(v, ctl->magic));
	return 0;
}

static __always_inline bool end_eq(__u32 a, __u16 ap, __u32 b, __u16 bp)
{
	return a == b && ap == bp;
}

/* Whether a packet with tuple `t` can be one of connection `c` in this direction, somewhere between its translations. */
static __always_inline bool on_the_way(const struct bt_conn *c, __u32 dir, const struct bt_tuple *t)
{
	const struct bt_tuple *a = dir ? &c->reply : &c->orig, *b = dir ? &c->orig : &c->reply;

	if (t->proto != a->proto)
		return false;
	if (t->proto == IPPROTO_ICMP)
		return (t->saddr == a->saddr || t->saddr == b->daddr) && (t->daddr == a->daddr || t->daddr == b->saddr) &&
		       t->dport == a->dport && (t->sport == a->sport || t->sport == b->sport);
	return (end_eq(t->saddr, t->sport, a->saddr, a->sport) || end_eq(t->saddr, t->sport, b->daddr, b->dport)) &&
	       (end_eq(t->daddr, t->dport, a->daddr, a->dport) || end_eq(t->daddr, t->dport, b->saddr, b->sport));
}

/* Finds the connection of scratch `t` without a hint: by the tuple before, after, or between translations. As bt_ct_lookup. */
__noinline int bt_ct_search(__u32 unused)
{
	struct bt_ctx *x = ctx_();
	struct bt_tuple t, inv;
	__u32 hit;

	ARG_USED(unused);
	if (!x)
		return 0;
	t = x->t;
	hit = bt_ct_lookup(0);
	if (hit)
		return hit;
	hit = bt_ct_lookup(KEY_MID);
	if (hit)
		return hit & ~1u;
	tuple_invert(&inv, &t);
	x->t = inv;
	hit = bt_ct_lookup(0);
	if (hit) {
		hit ^= 1;
	} else {
		hit = bt_ct_lookup(KEY_MID);
		if (hit)
			hit |= 1;
	}
	x->t = t;
	return hit;
}

/* At FORWARD, or at lo's ingress: what bt_ct_in found on the way in. Never changes the connection. */
__noinline int bt_ct_resume(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_tuple inv;
	struct bt_conn *c;
	__u32 h = skb->hash, v, n, info, dir, hit;
	int r;

	if (!p || !x || !ctl)
		return 0;
	p->ct = 0;
	p->ctdir = DIR_ORIG;
	p->ctinfo = CI_INVALID;
	if (x->frag_real) {
		p->ct = x->f_ct;
		p->ctinfo = x->f_info == CI_NONE ? CI_INVALID : x->f_info;
		p->ctdir = x->f_dir;
		return 0;
	}
	x->now = bpf_ktime_get_ns();
	if (h == hint_none(p, CI_INVALID, ctl->magic))
		goto out;
	if (h == hint_none(p, CI_UNTRACKED, ctl->magic)) {
		p->ctinfo = CI_UNTRACKED;
		goto out;
	}
	r = bt_ct_l4(skb);
	if (r < 0)
		goto out;
	if (r > 0) {
		/* The inverse of what the error quotes is a tuple in the error's own direction. */
		if (bt_ct_inner(skb))
			goto out;
		tuple_invert(&inv, &x->t);
		x->t = inv;
	} else {
		tuple_addrs(x, p);
	}
	v = hint_unmix(h, ctl->magic);
	n = v & (CT_NUMBERS - 1);
	info = v >> 26 & 3;
	dir = v >> 28 & 1;
	if (v >> 29 == HINT_CHECK && n && info < 3 && (info == 2) == (r == 1)) {
		c = bt_conn_at(n - 1);
		/* An ended connection still serves the packets that carry it. */
		if (c && ((c->status & ST_LIVE) || (__s64)(c->expires - x->now) > 0) && on_the_way(c, dir, &x->t)) {
			p->ct = n;
			p->ctdir = dir;
			p->ctinfo = info == 0 ? CI_NEW : info == 1 ? CI_ESTABLISHED : CI_RELATED;
			goto out;
		}
	}
	hit = bt_ct_search(0);
	if (hit) {
		c = bt_conn_at((hit >> 1) - 1);
		if (c) {
			p->ct = hit >> 1;
			p->ctdir = hit & 1;
			p->ctinfo = r > 0 ? CI_RELATED
				  : (hit & 1) || (c->status & ST_SEEN_REPLY) ? CI_ESTABLISHED : CI_NEW;
		}
	}
out:
	if (p->flags & P_MORE)
		frag_note(p);
	return 0;
}

/* At the end of POSTROUTING or INPUT: the connection stays. 0, or -stat: another connection has its tuple. */
__noinline int bt_ct_confirm(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_conn *c;
	__u32 i, old, status;

	ARG_USED(skb);
	if (!p || !p->ct)
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
	if (!(status & ST_KEY_REPLY) && key_claim_reply(c, &c->reply, i)) {
		if (c->status & ST_CONFIRMED)
			return 0;
		bt_ct_reap(i);
		return -STAT_DROP_NAT_EXHAUSTED;
	}
	c->expires = bpf_ktime_get_ns() + CT_TIMEOUT(c) * SEC_NS;
	old = __sync_fetch_and_or(&c->status, ST_CONFIRMED);
	if (!(old & ST_LIVE) || (old & ST_DYING))
		return -STAT_DROP_TABLE_FULL;
	return 0;
}

/* The packet was dropped: an unconfirmed connection that no other packet shares goes with it. */
__noinline int bt_ct_abandon(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_conn *c;
	__u32 i;

	ARG_USED(skb);
	if (!p || !p->ct || p->ctinfo == CI_RELATED)
		return 0;
	i = p->ct - 1;
	c = bt_conn_at(i);
	if (!c || !(c->status & ST_LIVE) || (c->status & ST_CONFIRMED))
		return 0;
	if ((__s32)__sync_fetch_and_add(&CT_REFS(c), -1) <= 1 && !(c->status & ST_CONFIRMED))
		bt_ct_reap(i);
	return 0;
}
