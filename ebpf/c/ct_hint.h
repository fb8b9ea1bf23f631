/* SPDX-License-Identifier: GPL-2.0-only */
/* Handing a packet's connection from the program where it comes in to the one where it leaves. */
#pragma once

#include "ct.h"
#include "note.h"

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
	__u64 k = addr_pair(p->saddr, p->daddr);

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

static __always_inline bool end_eq(bt_addr a, __u16 ap, bt_addr b, __u16 bp)
{
	return addr_eq(a, b) && ap == bp;
}

/* Whether a packet with tuple `t` can be one of connection `c` in this direction, somewhere between its translations. */
static __always_inline bool on_the_way(const struct bt_conn *c, __u32 dir, const struct bt_tuple *t)
{
	const struct bt_tuple *a = dir ? &c->reply : &c->orig, *b = dir ? &c->orig : &c->reply;

	if (t->proto != a->proto)
		return false;
	if (t->proto == BT_ICMP)
		return (addr_eq(t->saddr, a->saddr) || addr_eq(t->saddr, b->daddr)) &&
		       (addr_eq(t->daddr, a->daddr) || addr_eq(t->daddr, b->saddr)) &&
		       t->dport == a->dport && (t->sport == a->sport || t->sport == b->sport);
	return (end_eq(t->saddr, t->sport, a->saddr, a->sport) || end_eq(t->saddr, t->sport, b->daddr, b->dport)) &&
	       (end_eq(t->daddr, t->dport, a->daddr, a->dport) || end_eq(t->daddr, t->dport, b->saddr, b->sport));
}

/* As on_the_way, of a packet whose destination may have been translated by prefix since. */
static __always_inline bool on_the_way_elsewhere(const struct bt_conn *c, __u32 dir, const struct bt_tuple *t)
{
	const struct bt_tuple *a = dir ? &c->reply : &c->orig, *b = dir ? &c->orig : &c->reply;

	return t->proto == a->proto && t->dport == a->dport &&
	       (end_eq(t->saddr, t->sport, a->saddr, a->sport) || end_eq(t->saddr, t->sport, b->daddr, b->dport));
}

static __always_inline __u32 searched(__u32 hit, __u32 dirs)
{
	return hit && dirs >> (hit & 1) & 1 ? hit : 0;
}

/* Finds the connection of scratch `t` without a hint: by the tuple before, after, or between translations, in no zone, then in
 * any. As bt_ct_lookup. */
__noinline int bt_ct_search(__u32 dirs)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 hit;

	if (!p || !x)
		return 0;
	bool any = p->img_flags & IMG_ZONES;
	x->cur = x->t;
	hit = searched(bt_ct_lookup(0), dirs);
	if (hit)
		return hit;
	hit = searched(bt_ct_lookup(KEY_MID) & ~1u, dirs);
	if (hit)
		return hit;
	tuple_invert(&x->t, &x->cur);
	hit = bt_ct_lookup(0);
	hit = searched(hit ? hit ^ 1 : 0, dirs);
	if (!hit) {
		hit = bt_ct_lookup(KEY_MID);
		hit = searched(hit ? hit | 1 : 0, dirs);
	}
	if (!hit && any) {
		hit = bt_ct_lookup(KEY_ZONED);
		hit = searched(hit ? hit ^ 1 : 0, dirs);
	}
	x->t = x->cur;
	if (!hit && any)
		hit = searched(bt_ct_lookup(KEY_ZONED), dirs);
	return hit;
}

/* At FORWARD, or at lo's ingress: what bt_ct_in found on the way in. Never changes the connection. */
__noinline int bt_ct_resume(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
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
	x->now = ct_now();
	if (p->noted & NOTED_INVALID || h == hint_none(p, CI_INVALID, ctl->magic))
		goto out;
	if (p->noted & NOTED_UNTRACKED || h == hint_none(p, CI_UNTRACKED, ctl->magic)) {
		p->ctinfo = CI_UNTRACKED;
		goto out;
	}
	r = bt_ct_l4(skb);
	if (r == L4_UNTRACKED)
		p->ctinfo = CI_UNTRACKED;
	if (r < 0 || r == L4_UNTRACKED)
		goto out;
	if (r > 0) {
		/* The inverse of what the error quotes is a tuple in the error's own direction. */
		if (bt_ct_inner(skb))
			goto out;
		x->cur = x->t;
		tuple_invert(&x->t, &x->cur);
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
		if (c && ((c->status & ST_LIVE) || (__s64)(c->expires - x->now) > 0) &&
		    (on_the_way(c, dir, &x->t) ||
		     (BT_FAMILY == 6 && p->img_flags & IMG_DNPT && on_the_way_elsewhere(c, dir, &x->t)))) {
			p->ct = n;
			p->ctdir = dir;
			p->ctinfo = info == 0 ? CI_NEW : info == 1 ? CI_ESTABLISHED : CI_RELATED;
			goto out;
		}
	}
	/* Addresses and ports may be one connection's on its way and another's on its way back. */
	hit = p->img_flags & IMG_MAC ? bt_ct_search(p->noted & NOTED_REPLY ? SEARCH_REPLY : SEARCH_ORIG) : 0;
	if (!hit)
		hit = bt_ct_search(SEARCH_BOTH);
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
