/* SPDX-License-Identifier: GPL-2.0-only */
/* The tables of a hook: the traversal of one's chains, and what becomes of a packet that they do not accept. */
#pragma once
#include "bt.h"
#include "classify.h"
#include "ct.h"
#include "nat.h"
#include "reject.h"

static __always_inline bool has(struct bt_pkt *p, __u32 hook, __u32 table)
{
	return p->present >> (hook * BT_TABLES + table) & 1;
}

/* Rules see the packet come in by this device. */
static __always_inline void see_in(struct __sk_buff *skb, struct bt_pkt *p, __u32 ifindex)
{
	p->ifin = ifindex;
	if (p->img_flags & IMG_IFACE)
		p->class_in = bt_dev_class(skb, ifindex);
}

/* Rules see it leave by this one. */
static __always_inline void see_out(struct __sk_buff *skb, struct bt_pkt *p, __u32 ifindex)
{
	p->ifout = ifindex;
	if (p->img_flags & IMG_IFACE)
		p->class_out = bt_dev_class(skb, ifindex);
}

/* Forgets a connection that only this packet made. */
static __always_inline void abandon(struct __sk_buff *skb)
{
	if (has_part(IMG_CONNTRACK))
		bt_ct_abandon(skb);
}

/* Drops, and forgets such a connection. */
static __always_inline int drop(struct __sk_buff *skb, struct bt_pkt *p)
{
	abandon(skb);
	return BT_DROP;
}

/* Counts -reason and drops. */
static __always_inline int drop_for(struct __sk_buff *skb, struct bt_pkt *p, int reason)
{
	stat_add(-reason & (STAT_COUNT - 1));
	return drop(skb, p);
}

/* What becomes of a packet that a chain did not accept. Returns the action. */
__noinline int bt_refuse(struct __sk_buff *skb, __u32 verdict)
{
	struct bt_pkt *p = pkt();
	if (p && verdict == V_REJECT) {
		int action = bt_reject(skb);
		if (action != BT_DROP) {
			struct bt_answer *a = answer();

			stat_add(STAT_REJECTED);
			/* The connection goes on with the answer, unless that is below the rules. */
			if (a && a->port)
				abandon(skb);
			return action;
		}
	}
	abandon(skb);
	return BT_DROP;
}

/* Runs the chains of `hook` in `table`. Returns BT_NEXT to go on, or the action that ends the packet. */
static __always_inline int run_table(struct __sk_buff *skb, struct bt_pkt *p, __u32 hook, __u32 table)
{
	if (!has(p, hook, table))
		return BT_NEXT;
	p->hook = hook;
	p->table = table;
	int v = bt_run(skb, hook * BT_TABLES + table);
	return likely(v == V_ACCEPT) ? BT_NEXT : bt_refuse(skb, v);
}

/* The nat table at `hook`, for a connection whose translation of this kind is open, then the translation of this packet. */
static __always_inline int run_nat(struct __sk_buff *skb, struct bt_pkt *p, __u32 hook, __u32 manip)
{
	struct bt_conn *c;
	int r;

	if (likely(!asks(p, IMG_NAT)))
		return BT_NEXT;
	c = bt_conn_of(p);
	if (!c)
		return BT_NEXT;
	p->hook = hook;
	if ((p->ctinfo == CI_NEW || (p->ctinfo == CI_RELATED && p->proto != BT_ICMP)) &&
	    !(c->status & (manip == MANIP_SRC ? ST_SRC_NAT_DONE : ST_DST_NAT_DONE))) {
		p->table = T_NAT;
		p->nat_target = TG_NONE;
		int v = has(p, hook, T_NAT) ? bt_run(skb, hook * BT_TABLES + T_NAT) : V_ACCEPT;
		if (v == V_DROP || v == V_REJECT)
			return drop(skb, p);
		r = bt_nat_decide(skb, manip);
		if (r)
			return drop_for(skb, p, r);
	}
	r = bt_nat_apply(skb, manip);
	if (r)
		return drop_for(skb, p, r);
	return BT_NEXT;
}
