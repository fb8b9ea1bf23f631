/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m connlimit`, as xt_connlimit and nf_conncount: how many connections that passed a rule live, for each group of addresses.
 *
 * A group is a list of connections, by number and birth, in the order in which they came. Nobody tells it that one ended: whoever asks
 * walks it as far as his own, and takes out what is over, as nf_conncount does. A connection is over when it ended or its time passed,
 * or when it is TCP's in TIME_WAIT or CLOSE, unless it asks itself. One that is assured is not put into a list of others any more (it
 * could have been before), and has the whole list walked: so does the kernel from 6.18 on.
 *
 * A rule's groups are its own and begin anew with its table: its state line has a number for it. What is left of rules that are gone, and
 * groups of which nothing lives, are removed when there is no room.
 *
 * User space puts both maps in before the first rule asks. */
#pragma once

#include "bt.h"
#include "vrf.h"
#include "ops_arg.h"
#include "ops_state.h"

#define CL_SPINS (1 << 20)
#define CL_WALK (1 << 20)
#define CL_COLLECT 64
#define CL_TICK_NS 4000000
#define CL_DESTINATION 2 /* of an op's flags */

struct bt_limit_key {
	__u32 rule;
	bt_addr addr;
	__u32 zone;
};

/* A connection in a list. */
struct bt_limit_ref {
	__u32 conn, there; /* there: 0: none */
	__u64 born;
};

struct bt_limit_group {
	__u32 lock, id;
	__u32 count, pad;
	__u64 walked; /* tick */
	struct bt_limit_ref head, tail;
};

struct bt_limit_node_key {
	__u32 group, conn;
	__u64 born;
};

_Static_assert(sizeof(struct bt_limit_group) == 56, "abi::maps::LIMIT_GROUP");
_Static_assert(sizeof(struct bt_limit_node_key) == 16 && sizeof(struct bt_limit_ref) == 16, "abi::maps::LIMIT_NODE");
_Static_assert(sizeof(struct bt_limit_key) == (BT_FAMILY == 6 ? 24 : 12), "user space makes maps of such keys");

struct bt_limit_groups_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct bt_limit_key));
	__uint(value_size, sizeof(struct bt_limit_group));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct bt_limit_groups_map);
} bt_limit_groups SEC(".maps");

/* A node's value is what follows it. */
struct bt_limit_nodes_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct bt_limit_node_key));
	__uint(value_size, sizeof(struct bt_limit_ref));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct bt_limit_nodes_map);
} bt_limit_nodes SEC(".maps");

/* The walk of whoever asks: on no stack, which calls share. */
struct bt_limit_walk {
	__u64 now;
	struct bt_limit_ref own, at, before, next;
	struct bt_limit_node_key node;
	struct bt_limit_key key;
	struct bt_limit_group fresh;
	__u32 collected, found, assured, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_limit_walk);
} bt_limit_walks SEC(".maps");

static __always_inline struct bt_limit_walk *cl_walk(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_limit_walks, &zero);
}

static __always_inline void *cl_nodes(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_limit_nodes, &zero);
}

static __always_inline bool cl_is(const struct bt_limit_ref *a, const struct bt_limit_ref *b)
{
	return a->there && b->there && a->conn == b->conn && a->born == b->born;
}

static __always_inline bool cl_over(const struct bt_limit_ref *r, __u64 now)
{
	struct bt_conn *c = bt_conn_at(r->conn);

	if (!c || c->born != r->born || !(c->status & ST_LIVE) || ct_dead(c, now))
		return true;
	return c->orig.proto == IPPROTO_TCP && (c->tcp_state == tTW || c->tcp_state == tCL);
}

struct cl_step {
	struct bt_limit_group *group;
};

/* The node of `ref` in the list, or NULL. */
static __always_inline struct bt_limit_ref *cl_node(void *nodes, struct bt_limit_walk *w, __u32 group, const struct bt_limit_ref *ref)
{
	w->node.group = group;
	w->node.conn = ref->conn;
	w->node.born = ref->born;
	return bpf_map_lookup_elem(nodes, &w->node);
}

/* One connection of the list. */
static long cl_step(__u32 n, struct cl_step *s)
{
	struct bt_limit_group *g = s->group;
	struct bt_limit_walk *w = cl_walk();
	void *nodes = cl_nodes();
	struct bt_limit_ref *node;

	if (!w || !nodes || !w->at.there || w->collected > CL_COLLECT)
		return 1;
	if (!w->assured && cl_is(&w->at, &w->own)) {
		w->found = 1;
		return 1;
	}
	node = cl_node(nodes, w, g->id, &w->at);
	if (!node)
		return 1;
	w->next = *node;
	if (!cl_over(&w->at, w->now)) {
		w->before = w->at;
		w->at = w->next;
		return 0;
	}
	bpf_map_delete_elem(nodes, &w->node);
	if (w->before.there) {
		node = cl_node(nodes, w, g->id, &w->before);
		if (node)
			*node = w->next;
	} else {
		g->head = w->next;
	}
	if (!w->next.there)
		g->tail = w->before;
	g->count--;
	w->collected++;
	w->at = w->next;
	return 0;
}

/* With the group locked: from its head on. */
static __always_inline void cl_walk_list(struct bt_limit_walk *w, struct bt_limit_group *g)
{
	struct cl_step s = { .group = g };

	w->at = g->head;
	w->before.there = 0;
	w->collected = w->found = 0;
	bpf_loop(CL_WALK, cl_step, &s, 0);
}

static long cl_spin(__u32 n, struct cl_step *s)
{
	return __sync_lock_test_and_set(&s->group->lock, 1) == 0;
}

/* There is no room for a group: what is over goes from this one, and the group if nothing is left. */
static long cl_collect(void *map, const struct bt_limit_key *key, struct bt_limit_group *g, void *unused)
{
	struct bt_limit_walk *w = cl_walk();

	if (!w || __sync_lock_test_and_set(&g->lock, 1))
		return 0;
	cl_walk_list(w, g);
	if (!g->count) {
		g->id = 0;
		bpf_map_delete_elem(map, key);
	}
	__sync_lock_test_and_set(&g->lock, 0);
	return 0;
}

/* Adds the walk's own connection at the end of the list. False: no room. */
static __always_inline bool cl_append(struct bt_limit_walk *w, struct bt_limit_group *g)
{
	void *nodes = cl_nodes();
	struct bt_limit_ref *tail;

	if (!nodes)
		return false;
	if (cl_node(nodes, w, g->id, &w->own))
		return true;
	__builtin_memset(&w->next, 0, sizeof(w->next));
	if (bpf_map_update_elem(nodes, &w->node, &w->next, BPF_NOEXIST))
		return false;
	if (g->tail.there) {
		tail = cl_node(nodes, w, g->id, &g->tail);
		if (tail)
			*tail = w->own;
	} else {
		g->head = w->own;
	}
	g->tail = w->own;
	g->count++;
	return true;
}

/* How many there are in the group of the walk's key, with the walk's own connection, or with the packet that has none; 0: no room for it. */
static __always_inline __u32 cl_count(struct bt_limit_walk *w)
{
	struct bt_ct_global *ct = ct_global();
	struct bt_limit_group *g;
	struct cl_step s;
	__u32 zero = 0, id, count = 0;
	void *groups;

	groups = bpf_map_lookup_elem(&bt_limit_groups, &zero);
	if (!groups || !ct)
		return 0;
	g = bpf_map_lookup_elem(groups, &w->key);
	if (!g) {
		if (!w->own.there)
			return 1; /* it passes once, and is nothing that lives */
		__builtin_memset(&w->fresh, 0, sizeof(w->fresh));
		w->fresh.id = __sync_fetch_and_add(&ct->limits, 1) + 1;
		if (bpf_map_update_elem(groups, &w->key, &w->fresh, BPF_NOEXIST) && !bpf_map_lookup_elem(groups, &w->key)) {
			bpf_for_each_map_elem(groups, cl_collect, NULL, 0);
			bpf_map_update_elem(groups, &w->key, &w->fresh, BPF_NOEXIST);
		}
		g = bpf_map_lookup_elem(groups, &w->key);
		if (!g)
			return 0;
	}
	s.group = g;
	id = g->id;
	if (bpf_loop(CL_SPINS, cl_spin, &s, 0) >= CL_SPINS)
		return 0;
	if (id && g->id == id) {
		w->found = 0;
		/* Once in a tick. */
		if (g->walked != w->now / CL_TICK_NS) {
			cl_walk_list(w, g);
			g->walked = w->now / CL_TICK_NS;
		}
		if (!w->own.there)
			count = g->count + 1;
		else if (w->assured && g->count)
			count = g->count;
		else if (w->found || cl_append(w, g))
			count = g->count;
	}
	__sync_lock_test_and_set(&g->lock, 0);
	return count;
}

/* The number of the rule's groups, from its state line; 0: none. */
static __always_inline __u32 cl_rule(struct bt_pkt *p, __u32 at)
{
	struct bt_line *l = state_line(p, at);
	struct bt_ct_global *ct = ct_global();
	__u32 rule, fresh;

	if (!l || !ct)
		return 0;
	rule = *(volatile __u32 *)&l->w[0];
	if (rule)
		return rule;
	fresh = __sync_fetch_and_add(&ct->limits, 1) + 1;
	rule = __sync_val_compare_and_swap(&l->w[0], 0, fresh);
	return rule ? rule : fresh;
}

/* Whether a packet without a connection could be one's. */
static __always_inline bool cl_has_tuple(const struct bt_pkt *p)
{
	if (p->frag_off || (BT_FAMILY == 6 && p->flags & P_BAD_EXT))
		return false;
	switch (p->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		return p->flags & P_PORTS;
	case BT_ICMP:
		return !(p->flags & P_TRUNC);
	}
	return true;
}

__noinline int bt_op_connlimit(struct __sk_buff *skb, __u32 how, __u32 at, __u32 limit, __u32 mask_at)
{
	keep_arg(skb);
	struct bt_limit_walk *w = cl_walk();
	struct bt_pkt *p = pkt();
	struct bt_conn *ct;
	bt_addr mask;
	__u32 count;

	if (!p || !w)
		return -1;
	void *img = image(p->slot);
	struct bt_line *l = img ? line(img, mask_at) : NULL;
	if (!l)
		return -1;
	__builtin_memcpy(&mask, &l->w[0], sizeof(mask));
	w->key.addr = addr_and(how & CL_DESTINATION ? p->daddr : p->saddr, mask);
	w->key.zone = 0;
	w->key.rule = cl_rule(p, at);
	if (!w->key.rule)
		return -1;
	w->now = bpf_ktime_get_ns();
	__builtin_memset(&w->own, 0, sizeof(w->own));
	w->assured = 0;
	ct = bt_conn_of(p);
	if (ct) {
		w->key.zone = ct->orig.zone ? ct->orig.zone : ct->reply.zone;
		w->own.conn = p->ct - 1;
		w->own.born = ct->born;
		w->own.there = 1;
		w->assured = ct->status & ST_ASSURED && !(p->ifin == p->lo && by_loopback(skb, p));
	} else if (!cl_has_tuple(p)) {
		return -1;
	}
	count = cl_count(w);
	if (!count)
		return -1;
	return (count > limit) != (how & OPF_INVERT);
}
