/* SPDX-License-Identifier: GPL-2.0-only */
/* What user space cannot see of the kernel's sets: under which number a namespace keeps them. The number belongs to a variable of the
 * module that no table of symbols shows; but user space knows a set's index and name from the kernel, and this looks where such a set
 * is. Run on no packet, in the namespace of who runs it. */
#pragma once

#include "bt.h"
#include "ops_set.h"

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_set_probe);
} bt_set_probes SEC(".maps");

struct probe_ctx {
	struct bt_set_probe *q;
	struct bt_set_conf *f;
	__u64 gen, list, set, node, head;
	__u32 found, id, max;
};

/* The set of the index, if what stands under `id` may be a namespace's sets. */
static __always_inline bool probe_at(struct probe_ctx *c, __u32 id)
{
	__u64 inst = k64(c->gen + 8ull * id);
	__u32 max = inst ? k16(inst + c->f->net_max) : 0;
	__u64 list, set;

	if (c->q->index >= max)
		return false;
	list = k64(inst + c->f->net_list);
	set = list ? k64(list + 8ull * c->q->index) : 0;
	if (!set || !set_named(set + c->f->name, (const __u64 *)c->q->name))
		return false;
	c->list = list;
	c->max = max;
	c->set = set;
	return true;
}

static long probe_step(__u32 n, struct probe_ctx *c)
{
	if (n && probe_at(c, n)) {
		c->found++;
		c->id = n;
	}
	return 0;
}

static long probe_seek(__u32 n, struct probe_ctx *c)
{
	if (n >= c->max)
		return 1;
	if (k64(c->list + 8ull * n) != c->q->set)
		return 0;
	c->set = c->q->set;
	c->found = 1;
	return 1;
}

static long probe_member(__u32 n, struct probe_ctx *c)
{
	c->node = k64(c->node);
	return !c->node || c->node == c->head;
}

static __always_inline int set_probe(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct bt_set_probe *q = bpf_map_lookup_elem(&bt_set_probes, &zero);
	struct bt_set_conf *f = bpf_map_lookup_elem(&bt_sets, &zero);
	struct probe_ctx c = { .q = q, .f = f };

	if (!q || !f)
		return BT_NEXT;
	struct net___sets *net = (void *)net_of(skb);
	c.gen = (__u64)net->gen;
	if (q->set) {
		__u64 inst = k64(c.gen + 8ull * q->net_id);
		c.list = inst ? k64(inst + f->net_list) : 0;
		c.max = c.list ? k16(inst + f->net_max) : 0;
		c.id = q->net_id;
		bpf_loop(SET_MANY, probe_seek, &c, 0);
	} else if (q->net_id) {
		c.found = probe_at(&c, q->net_id);
		c.id = q->net_id;
	} else {
		/* The first word of the array is its length. */
		bpf_loop(k32(c.gen), probe_step, &c, 0);
	}
	q->found = c.found;
	if (!c.found)
		return BT_NEXT;
	q->net_id = c.id;
	if (q->member) {
		c.head = c.node = k64(c.set + f->data) + f->list_members;
		bpf_loop(q->member, probe_member, &c, 0);
		q->found = 0;
		if (!c.node || c.node == c.head)
			return BT_NEXT;
		q->index = k16(c.node - f->elem_list + f->elem_id);
		c.set = q->index < c.max ? k64(c.list + 8ull * q->index) : 0;
		if (!c.set)
			return BT_NEXT;
		q->found = 1;
	}
	__u64 type = k64(c.set + f->type_);
	for (int i = 0; i < 4; i++) {
		((__u64 *)q->name)[i] = k64(c.set + f->name + 8 * i);
		((__u64 *)q->type_)[i] = k64(type + f->type_name + 8 * i);
	}
	__u32 kind = set_type(k16(type + f->type_features), k64(type + f->type_name));
	q->guard = kind < SETT_COUNT ? set_guard(&f->types[masked(kind, 15)], k64(c.set + f->data)) : 0;
	q->extensions = k8(c.set + f->extensions);
	q->family = k8(c.set + f->family);
	q->dimension = k8(type + f->type_dimension);
	return BT_NEXT;
}
