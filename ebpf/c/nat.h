/* SPDX-License-Identifier: GPL-2.0-only */
/* Network address translation: decided once a connection and kind, at its first packet, then applied to every packet.
 *
 * A reply tuple is claimed in the connection table by an insert that fails if it is taken, so no two connections can get one.
 *
 * Differs from legacy: the ports of a fragmented SCTP packet are not rewritten (its CRC needs the whole length): it is dropped with
 * STAT_DROP_REWRITE. UDPLITE whose checksum is right is tracked; legacy calls all of it INVALID on some kernels. */
#pragma once

#include "ct_table.h"
#include "ct_check.h"
#include "nat_dev.h"
#include "nat_rewrite.h"

static __always_inline bool proto_has_ports(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE || proto == IPPROTO_SCTP;
}

/* Whether scratch `u` is free for connection n_conn, whose tuple is `cur`; for MANIP_SRC, claims it, and it is the connection's. 1: free
 * (and ours). */
__noinline int bt_nat_try(__u32 unused)
{
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 hit, turn;

	ARG_USED(unused);
	if (!x)
		return 0;
	c = bt_conn_at(x->n_conn);
	if (!c)
		return 0;
	tuple_invert(&x->t, &x->u);
	for (turn = 0; turn < 2; turn++) {
		if (x->n_manip == MANIP_SRC) {
			/* Others compare with the connection's tuple from the claim on. */
			c->reply = x->t;
			if (!key_claim_reply(x, c, x->n_conn))
				return 1;
			tuple_invert(&c->reply, &x->cur);
		}
		key_set(x, &x->t, 0);
		hit = bt_key_find(0);
		if (!hit) {
			if (x->n_manip == MANIP_DST)
				return 1;
			continue;
		}
		if ((hit >> 1) - 1 == x->n_conn)
			return 1;
		if (bt_ct_lookup(0))
			return 0;
		key_set(x, &x->t, 0);
		if (bt_key_find(0))
			return 0;
	}
	return 0;
}

/* The last tries for a TCP port end a translated connection that is over (TIME_WAIT or later) if the new one's sequence numbers have
 * gone past its own. 1: it made room. */
__noinline int bt_nat_take_over(__u32 unused)
{
	struct bt_ctx *x = ctx_();
	struct bt_conn *c, *o;
	__u32 hit, i;

	ARG_USED(unused);
	if (!x || x->u.proto != IPPROTO_TCP)
		return 0;
	tuple_invert(&x->k, &x->u);
	hit = bt_key_find(0);
	if (!hit)
		return 1;
	i = (hit >> 1) - 1;
	if (!(hit & 1) || i == x->n_conn)
		return 0;
	c = bt_conn_at(x->n_conn);
	o = bt_conn_at(i);
	if (!c || !o || o->tcp_state < tTW || !(o->status & ST_SRC_NAT) || !(o->status & ST_LIVE))
		return 0;
	if ((__s32)(c->side[0].end - o->side[0].end) <= 0)
		return 0;
	return bt_ct_reap(i);
}

static __always_inline void nat_set_part(struct bt_ctx *x, __u32 port)
{
	if (x->n_src)
		x->u.sport = bpf_htons(port);
	else
		x->u.dport = bpf_htons(port);
}

/* Windows of tries that shrink by half, each from a new random start, so that a full range does not cost a full search. */
static long nat_port_cb(__u32 n, void *data)
{
	struct bt_ctx *x = ctx_();

	if (!x || !x->n_range)
		return 1;
	if (n == x->n_end) {
		if (x->n_span >= x->n_range || x->n_span < 16)
			return 1;
		x->n_span /= 2;
		x->n_end = n + x->n_span;
		x->n_off = bpf_get_prandom_u32() & 0xffff;
	}
	nat_set_part(x, x->n_min + (x->n_off & 0xffff) % x->n_range);
	x->n_off++;
	if (bt_nat_try(0) || (x->n_end - n <= 16 && bt_nat_take_over(0) && bt_nat_try(0))) {
		x->n_found = 1;
		return 1;
	}
	return 0;
}

static __always_inline __u32 nat_part(const struct bt_ctx *x, bool src)
{
	return bpf_ntohs(src ? x->u.sport : x->u.dport);
}

/* Whether the part that may change is in the asked ports. */
static __always_inline bool nat_part_fits(const struct bt_ctx *x, __u32 manip)
{
	__u32 v;

	if (x->u.proto == BT_ICMP)
		v = nat_part(x, true);
	else if (proto_has_ports(x->u.proto))
		v = nat_part(x, manip == MANIP_SRC);
	else
		return true;
	return v >= x->r.port_lo && v <= x->r.port_hi;
}

/* The last source translation of each source, so that a source keeps its mapping towards several destinations. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct bt_nat_src_key);
	__type(value, __u32);
} bt_nat_srcs SEC(".maps");

/* The source of an original tuple as a key, into scratch. */
static __always_inline struct bt_nat_src_key *nat_src(struct bt_ctx *x, const struct bt_tuple *orig)
{
	x->src.saddr = orig->saddr;
	x->src.sport = orig->sport;
	x->src.proto = orig->proto;
	x->src.zone = x->n_zone;
	return &x->src;
}

/* Takes the mapping that this source has in another connection into `u`. */
static __always_inline bool nat_known_src(struct bt_ctx *x, const struct bt_tuple *cur)
{
	struct bt_nat_src_key *k = nat_src(x, cur);
	struct bt_conn *o;
	__u32 *v;

	v = bpf_map_lookup_elem(&bt_nat_srcs, k);
	if (!v)
		return false;
	o = bt_conn_at(*v);
	if (!o || !(o->status & ST_LIVE) || ct_dead(o, x->now) || !(o->status & ST_SRC_NAT) || !addr_eq(o->orig.saddr, k->saddr) ||
	    o->orig.sport != k->sport || o->orig.proto != k->proto || o->orig.zone != k->zone)
		return false;
	x->u.saddr = o->reply.daddr;
	x->u.sport = k->proto == BT_ICMP ? o->reply.sport : o->reply.dport;
	return true;
}

static __always_inline bool nat_addr_fits(const struct bt_ctx *x)
{
	return !(x->r.flags & NAT_MAP_IPS) || addr_between(x->u.saddr, x->r.min, x->r.max);
}

/* Scratch `r` on scratch `u`, the tuple as it is (and `cur`, the same): leaves the new one in `u`, claimed if it is a source translation.
 * 1, or 0: none is free. Netfilter's order: keep it if it fits, the source's other mapping, an address by hash, then ports. */
__noinline int bt_nat_unique(__u32 manip)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	bt_addr to;
	__u32 flags, lo, part, max;
	bool random;

	if (!x || !ctl)
		return 0;
	flags = x->r.flags;
	random = flags & (NAT_PROTO_RANDOM | NAT_PROTO_RANDOM_FULLY);
	if (manip == MANIP_SRC && !random) {
		if (nat_addr_fits(x) && (!(flags & NAT_PROTO_SPECIFIED) || nat_part_fits(x, MANIP_SRC))) {
			if (bt_nat_try(0))
				return 1;
		} else if (nat_known_src(x, &x->cur) && nat_addr_fits(x) &&
			   (!(flags & NAT_PROTO_SPECIFIED) || nat_part_fits(x, MANIP_SRC))) {
			if (bt_nat_try(0))
				return 1;
		}
		x->u = x->cur;
	}
	if (flags & NAT_MAP_IPS) {
		to = addr_pick(x->r.min, x->r.max, bt_hash(addr_pair(x->cur.saddr, flags & NAT_PERSISTENT ? ADDR_NONE : x->cur.daddr), ctl->seed));
		if (manip == MANIP_SRC)
			x->u.saddr = to;
		else
			x->u.daddr = to;
	}
	if (!random) {
		if (flags & NAT_PROTO_SPECIFIED) {
			if (!(flags & NAT_PROTO_OFFSET) && nat_part_fits(x, manip)) {
				if (bt_nat_try(0))
					return 1;
				if (x->r.port_lo == x->r.port_hi)
					return manip == MANIP_DST; /* nothing to choose; the source side will resolve it */
			}
		} else if (bt_nat_try(0)) {
			return 1;
		}
	}
	x->n_src = manip == MANIP_SRC || x->u.proto == BT_ICMP;
	part = nat_part(x, x->n_src);
	if (!proto_has_ports(x->u.proto) && x->u.proto != BT_ICMP)
		return manip == MANIP_DST || bt_nat_try(0);
	if (flags & NAT_PROTO_SPECIFIED) {
		lo = x->r.port_lo;
		max = x->r.port_hi;
		if (max < lo) {
			lo = max;
			max = x->r.port_lo;
		}
	} else if (x->u.proto == BT_ICMP) {
		lo = 0;
		max = 65535;
	} else if (manip == MANIP_DST) {
		return 1;
	} else if (part < 512) {
		lo = 1;
		max = 511;
	} else if (part < 1024) {
		lo = 600;
		max = 1023;
	} else {
		lo = 1024;
		max = 65535;
	}
	x->n_min = lo;
	x->n_range = max - lo + 1;
	if (flags & NAT_PROTO_OFFSET)
		x->n_off = part - x->r.base;
	else if (random || manip == MANIP_SRC)
		x->n_off = bpf_get_prandom_u32() & 0xffff;
	else
		x->n_off = 0;
	x->n_span = x->n_range > 128 ? 128 : x->n_range;
	x->n_end = x->n_span;
	x->n_found = 0;
	bpf_loop(256, nat_port_cb, NULL, 0);
	return x->n_found || manip == MANIP_DST;
}

/* The range that the packet's nat target asks for, into scratch `r`. 1, or 0: there is no address to give. */
static __always_inline int nat_range(struct __sk_buff *skb, const struct bt_pkt *p, struct bt_ctx *x, __u32 manip)
{
	bt_addr addr;

	x->r = p->nat;
	switch (p->nat_target) {
	case TG_NONE:
		x->r.flags = NAT_MAP_IPS;
		x->r.min = x->r.max = manip == MANIP_SRC ? x->u.saddr : x->u.daddr;
		return 1;
	case TG_NETMAP:
		addr = manip == MANIP_SRC ? p->saddr : p->daddr;
		addr = addr_mix(addr, p->nat.min, p->nat.max);
		x->r.flags = (x->r.flags & ~NAT_PROTO_SPECIFIED) | NAT_MAP_IPS;
		break;
	case TG_MASQUERADE:
		addr = nat_masq(skb);
		x->r.flags |= NAT_MAP_IPS;
		break;
	case TG_REDIRECT:
		addr = p->hook == H_OUT ? ADDR_LOOPBACK : nat_redirect(skb);
		x->r.flags |= NAT_MAP_IPS;
		break;
	default:
		return 1;
	}
	x->r.min = x->r.max = addr;
	return !addr_is_none(addr);
}

/* After the nat chain of this kind ran for a connection's first packet: decides the translation by p->nat_target and p->nat.
 * 0 or -STAT_DROP_NAT_EXHAUSTED. */
__noinline int bt_nat_decide(struct __sk_buff *skb, __u32 manip)
{
	__u32 done = manip == MANIP_SRC ? ST_SRC_NAT_DONE : ST_DST_NAT_DONE;
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 i, set = done, old;
	int r = 0;

	if (!p || !x || !p->ct || (p->ctinfo != CI_NEW && p->ctinfo != CI_RELATED))
		return 0;
	i = p->ct - 1;
	c = bt_conn_at(i);
	if (!c || (c->status & (done | ST_CONFIRMED)) || !(c->status & ST_LIVE))
		return 0;
	if (!ct_lock(c, i))
		return -STAT_DROP_NAT_EXHAUSTED;
	if (c->status & (done | ST_CONFIRMED))
		goto out;
	x->now = ct_now();
	x->n_conn = i;
	x->n_manip = manip;
	x->n_zone = c->orig.zone;
	tuple_invert(&x->cur, &c->reply);
	x->u = x->cur;
	if (!nat_range(skb, p, x, manip) || !bt_nat_unique(manip)) {
		r = -STAT_DROP_NAT_EXHAUSTED;
		goto out;
	}
	if (!tuple_eq(&x->cur, &x->u)) {
		set |= manip == MANIP_SRC ? ST_SRC_NAT : ST_DST_NAT;
		tuple_invert(&x->t, &x->cur);
		tuple_invert(&c->reply, &x->u);
		if (manip == MANIP_DST) {
			/* Taken early so that FORWARD finds the packet; if another has it, the source's turn resolves that. */
			key_claim_reply(x, c, i);
		} else if (c->status & ST_DST_NAT) {
			key_delete(x, &x->t, i, 0);
		}
		if (ct_zoned(c)) {
			key_delete(x, &x->t, i, KEY_ZONED);
			key_zoned(x, &c->reply, i << 1 | 1);
		}
	}
	if (p->nat_target == TG_MASQUERADE)
		c->masq_ifindex = p->ifout;
	if (manip == MANIP_DST && p->nat_target != TG_NONE)
		c->dnat_slot = p->nat_slot;
	if (manip == MANIP_SRC && (set & ST_SRC_NAT)) {
		if (c->status & ST_DST_NAT) {
			mid_key(&x->k, c);
			if (!bt_key_claim(i << 1))
				set |= ST_KEY_MID;
		}
		bpf_map_update_elem(&bt_nat_srcs, nat_src(x, &c->orig), &i, BPF_ANY);
	}
	old = __sync_fetch_and_or(&c->status, set);
	if (!(old & ST_LIVE) || (old & ST_REAPED))
		key_delete(x, &c->reply, i, 0);
out:
	ct_unlock(c);
	return r;
}
