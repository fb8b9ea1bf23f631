/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m set`: the kernel's sets, searched where the kernel keeps them. So what `ipset` did is what the next packet meets, and a swap is one.
 *
 * Programs at tcx run under RCU, as the kernel's own search does, and nothing that is read here is freed beneath them. Where things stand in
 * the kernel's structures (bt_set_conf) user space reads from the kernel's types, for sets may be a module's. All loads are of the kind that
 * gives zero where there is no memory.
 *
 * A rule knows its set by name: the index where it was last is a hint, kept in the rule's state line. Legacy holds a set by its index,
 * and a reference keeps index and name together; a swap exchanges names, then pointers, so the name leads to what comes after it. */
#pragma once

#include "bt.h"
#include "kernel_net.h"
#include "ops_arg.h"
#include "ops_l4.h"
#include "ops_packet.h"
#include "set_bitmap.h"
#include "set_change.h"
#include "set_hash.h"

#define NFPROTO_OWN (BT_FAMILY == 6 ? 10 : 2)

struct net_generic;
struct net___sets {
	struct net_generic *gen;
} __attribute__((preserve_access_index));

static __always_inline bool set_named(__u64 name, const __u64 *wanted)
{
	for (int i = 0; i < 4; i++) {
		__u64 v = k64(name + 8 * i), mask = before_end(v);
		if ((v & mask) != wanted[i])
			return false;
		if (mask != ~0ull)
			return true;
	}
	return true;
}

static long set_seek_step(__u32 n, struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	__u64 set;

	if (n >= w->max)
		return 1;
	set = k64(w->list + 8ull * n);
	if (!set || !set_named(set + c->f->name, (const __u64 *)w->rule.name))
		return 0;
	w->set = set;
	w->at = n;
	return 1;
}

/* The set of the rule's name into w->set; 0: there is none. */
static __always_inline void set_find(struct set_ctx *c, struct bt_line *hint)
{
	struct bt_set_walk *w = c->w;
	__u32 at = hint->w[0] - 1;

	w->set = 0;
	if (at < w->max) {
		__u64 set = k64(w->list + 8ull * at);
		if (set && set_named(set + c->f->name, (const __u64 *)w->rule.name)) {
			w->set = set;
			return;
		}
	}
	/* Names that are being exchanged may be none for a moment. */
	for (int i = 0; i < SET_TRIES && !w->set; i++)
		bpf_loop(SET_MANY, set_seek_step, c, 0);
	if (w->set)
		hint->w[0] = w->at + 1;
}

/* A type by what it holds, and two pairs by their names: `b` of bitmap, and the net of hash:net,port,net. */
static __always_inline __u32 set_type(__u32 features, __u64 name)
{
	bool bitmap = (name & 0xff) == 'b';

	switch (features & SET_FEATURES) {
	case 0x01:
		return bitmap ? SETT_BITMAP_IP : SETT_HASH_IP;
	case 0x02:
		return SETT_BITMAP_PORT;
	case 0x04:
		return SETT_HASH_MAC;
	case 0x05:
		return bitmap ? SETT_BITMAP_IPMAC : SETT_HASH_IPMAC;
	case 0x41:
		return SETT_HASH_IPMARK;
	case 0x03:
		return SETT_HASH_IPPORT;
	case 0x0b:
		return SETT_HASH_IPPORTIP;
	case 0x8b:
		return (name >> 40 & 0xff) == 'i' ? SETT_HASH_IPPORTNET : SETT_HASH_NETPORTNET;
	case 0x81:
		return SETT_HASH_NET;
	case 0x83:
		return SETT_HASH_NETPORT;
	case 0xa1:
		return SETT_HASH_NETIFACE;
	case 0x89:
		return SETT_HASH_NETNET;
	}
	return SETT_COUNT;
}

/* A set begins: its answer, or how it is searched. */
static __always_inline int set_enter(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	struct bt_set_conf *f = c->f;
	__u64 type = k64(w->set + f->type_);
	__u32 family = k8(w->set + f->family);

	w->features = k16(type + f->type_features);
	if (w->rule.dim < k8(type + f->type_dimension) || (family && family != NFPROTO_OWN))
		return 0;
	w->data = k64(w->set + f->data);
	w->ext = k8(w->set + f->extensions);
	w->dsize = k64(w->set + f->dsize);
	w->counter = k64(w->set + f->offsets);
	w->timeout = k64(w->set + f->offsets + 8);
	w->behind = 0;
	if (w->features & SET_FEATURE_LIST) {
		/* No list has lists. */
		if (w->outer)
			return 0;
		w->outer = w->set;
		w->outer_ext = w->ext;
		w->outer_timeout = w->timeout;
		w->outer_counter = w->counter;
		w->head = w->node = w->data + f->list_members;
		w->phase = SET_MEMBER;
		return SET_ON;
	}
	w->type = set_type(w->features, k64(type + f->type_name));
	if (w->type >= SETT_COUNT)
		return 0;
	const struct bt_set_type *t = &f->types[masked(w->type, 15)];
	if (!t->known)
		return 0;
	if (w->type <= SETT_BITMAP_PORT)
		return set_bitmap(c, t);
	return set_key(c, t);
}

/* The next set of the list. */
static __always_inline int set_member(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	__u32 at;

	w->node = k64(w->node);
	if (!w->node || w->node == w->head) {
		w->found = 0;
		return 0;
	}
	at = k16(w->node - c->f->elem_list + c->f->elem_id);
	w->set = at < w->max ? k64(w->list + 8ull * at) : 0;
	if (w->set)
		w->phase = SET_ENTER;
	return SET_ON;
}

/* What rules have made of the element; the set's own answer where they did nothing. */
static __always_inline int set_ask_changes(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	const struct bt_set_type *t = &c->f->types[masked(w->type, 15)];
	int r = set_changed(c);

	if (t->nets != SET_NO_16) {
		/* Shorter prefixes may have it still. */
		w->phase = SET_PREFIX;
		if (r == SET_ON)
			set_bucket(c, t);
		return r || w->write ? r : SET_ON;
	}
	if (r != SET_ON)
		return r;
	if (w->type <= SETT_BITMAP_PORT)
		return set_bit(c, t);
	return set_bucket(c, t) ? SET_ON : 0;
}

/* Whether a list's member takes a change, which no other gets then. */
static __always_inline bool set_takes(const struct bt_set_walk *w)
{
	return w->keyed && (w->write & SETW_ADD ? !w->found || w->write & SETW_EXIST : w->found);
}

static long set_step(__u32 n, struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	int r;

	switch (w->phase) {
	case SET_ENTER:
		r = set_enter(c);
		break;
	case SET_PREFIXES:
		r = set_prefixes(c);
		break;
	case SET_PREFIX:
		r = set_prefix(c);
		break;
	case SET_ELEM:
		r = set_elem(c);
		break;
	case SET_CHANGED:
		r = set_ask_changes(c);
		break;
	default:
		r = set_member(c);
		if (r != SET_ON)
			return 1;
	}
	if (r == SET_ON)
		return 0;
	if (w->behind && prefixes_changed(c)) {
		w->phase = SET_PREFIXES;
		return 0;
	}
	if (w->rule.flags & SETF_RETURN_NOMATCH && w->features & SET_FEATURE_NOMATCH)
		r = -r;
	w->found = w->write ? r & 3 : r > 0;
	if (!w->outer)
		return 1;
	if (w->write ? set_takes(w) : r > 0) {
		__u64 elem = w->node - c->f->elem_list;
		if (!(w->outer_ext & SET_EXT_TIMEOUT && set_expired(elem + w->outer_timeout)) &&
		    (w->write || !(w->outer_ext & SET_EXT_COUNTER) || set_counters(c, elem + w->outer_counter)))
			return 1;
	}
	w->found = w->keyed = 0;
	w->phase = SET_MEMBER;
	return 0;
}

/* What stands for ports: as ip_set_getport.c. */
static __always_inline void set_ports(struct __sk_buff *skb, struct bt_pkt *p, struct bt_set_walk *w)
{
	__u8 icmp[8];

	w->proto = p->proto;
	w->port[0] = w->port[1] = 0;
	w->has_port = 0;
	if (BT_FAMILY == 6 ? p->flags & P_BAD_EXT || p->proto == 59 || p->frag_off : !p->proto)
		return;
	switch (p->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		if (p->frag_off || p->flags & P_TRUNC || !(p->flags & P_PORTS))
			return;
		w->port[0] = bpf_htons(p->dport);
		w->port[1] = bpf_htons(p->sport);
		break;
	case 58:
		if (BT_FAMILY == 4 && p->frag_off)
			break;
		/* fallthrough */
	case 1:
		if (p->frag_off || l4_bytes(p) < sizeof(icmp) || bpf_skb_load_bytes(skb, l4_at(p), icmp, sizeof(icmp)))
			return;
		w->port[0] = w->port[1] = icmp[0] | (__u16)icmp[1] << 8;
	}
	w->has_port = 1;
}

/* The link addresses of the frame that the packet came in by. */
static __always_inline void set_macs(struct __sk_buff *skb, struct bt_pkt *p, struct bt_set_walk *w, struct net___k *net)
{
	w->mac[0] = w->mac[1] = 0;
	if (!(p->img_flags & IMG_MAC))
		return;
	if (p->hook == H_FWD || p->hook == H_POST) {
		if (p->flags & P_LOCAL || p->mac_known <= 0)
			return;
		w->mac[1] = p->mac;
		if (leaves_by_port(skb, p)) {
			/* Its frame goes on. */
			if (bpf_skb_load_bytes(skb, 0, &w->mac[0], 6))
				w->mac[0] = 0;
			return;
		}
		/* What is forwarded was sent to its device. */
		__u64 dev = device_at(net, p->ifin, 16);
		if (!dev)
			return;
		struct net_device___k *d = kernel_object(dev, bpf_core_type_id_kernel(struct net_device));
		__u64 at = (__u64)d->dev_addr;
		w->mac[0] = k32(at) | (__u64)k16(at + 4) << 32;
	} else if (p->hook != H_OUT && has_link_header(p)) {
		if (bpf_skb_load_bytes(skb, 0, &w->mac[0], 6))
			w->mac[0] = 0;
		if (bpf_skb_load_bytes(skb, 6, &w->mac[1], 6))
			w->mac[1] = 0;
	}
}

static __always_inline void set_device(struct __sk_buff *skb, struct bt_pkt *p, struct bt_set_walk *w, struct net___k *net)
{
	__u32 index = w->rule.sides & 2 ? p->ifin : p->ifout;
	struct sk_buff *k = kernel_skb(skb);
	__u64 dev = index == skb->ifindex ? (__u64)k->dev : 0;

	w->iface[0] = w->iface[1] = 0;
	if (!index)
		return;
	if (!dev)
		dev = device_at(net, index, 16);
	if (!dev)
		return;
	dev += bpf_core_field_offset(struct net_device, name);
	__u64 a = k64(dev), b = k64(dev + 8), in_a = before_end(a);
	w->iface[0] = a & in_a;
	w->iface[1] = in_a == ~0ull ? b & before_end(b) : 0;
}

/* at: line of bt_set_params, hint: the rule's state line. Of SET, which looks before it writes, `how` is SETW_* << 16. */
__noinline int bt_op_set(struct __sk_buff *skb, __u32 how, __u32 at, __u32 hint)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 zero = 0;
	struct set_ctx c = {
		.w = bpf_map_lookup_elem(&bt_set_scratch, &zero),
		.f = bpf_map_lookup_elem(&bt_sets, &zero),
	};
	bool invert = how & OPF_INVERT;

	if (!p || !c.w || !c.f)
		return -1;
	struct bt_set_walk *w = c.w;
	w->write = how >> 16;
	w->keyed = 0;
	struct bt_line *l = state_line(p, at), *h = state_line(p, hint);
	if (!l || !h)
		return -1;
	struct net___k *net = net_of(skb);
	struct net___sets *n = (void *)net;
	__u64 gen = (__u64)n->gen;
	__u64 inst = c.f->net_id ? k64(gen + 8ull * c.f->net_id) : 0;

	/* A set that is not there has nothing. */
	if (!inst)
		return invert;
	w->list = k64(inst + c.f->net_list);
	w->max = k16(inst + c.f->net_max);
	__builtin_memcpy(&w->rule, l, sizeof(w->rule));
	set_find(&c, h);
	if (!w->set)
		return invert;
	w->addr[0] = p->daddr;
	w->addr[1] = p->saddr;
	w->mark = p->mark;
	w->outer = 0;
	w->found = 0;
	w->phase = SET_ENTER;
	set_changes_begin(w);
	if (w->write)
		w->hosts = set_hosts(w);
	set_ports(skb, p, w);
	set_macs(skb, p, w, net);
	if (w->rule.dim > 1)
		set_device(skb, p, w, net);
	bpf_loop(SET_STEPS, set_step, &c, 0);
	return (w->found != 0) != invert;
}

/* --map-set: gives the packet the marks of the element that was found; those of one that has none are zero, and no mask takes nothing away. */
__noinline int bt_set_map(struct __sk_buff *skb, __u32 asked)
{
	struct bt_pkt *p = pkt();
	__u32 zero = 0;
	struct bt_set_walk *w = bpf_map_lookup_elem(&bt_set_scratch, &zero);
	struct bt_set_conf *f = bpf_map_lookup_elem(&bt_sets, &zero);

	if (!p || !w || !f)
		return 0;
	__u64 marks = w->elem && w->ext & SET_EXT_MARKS ? w->elem + k64(w->set + f->offsets + 16) : 0;
	if (asked & SETW_MAP_MARK)
		p->mark = (p->mark & ~k32(marks ? marks + f->skbmarkmask : 0)) ^ k32(marks ? marks + f->skbmark : 0);
	if (asked & SETW_MAP_PRIO)
		skb->priority = marks ? k32(marks + f->skbprio) : 0;
	return 0;
}

/* -j SET. `at`: line of struct bt_set_target. */
__noinline int bt_target_set(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	void *img = p ? image(p->slot) : NULL;
	struct bt_set_target *n = img ? line(img, at) : NULL;

	if (!n)
		return 0;
	if (n->add) {
		bt_op_set(skb, (SETW_ADD | n->flags) << 16, n->add, n->add_state);
		bt_set_write(skb, SETW_ADD | n->flags, n->timeout);
	}
	if (n->del) {
		bt_op_set(skb, SETW_DEL << 16, n->del, n->del_state);
		bt_set_write(skb, SETW_DEL, 0);
	}
	if (n->map && bt_op_set(skb, 0, n->map, n->map_state) == 1)
		bt_set_map(skb, n->flags);
	return 0;
}
