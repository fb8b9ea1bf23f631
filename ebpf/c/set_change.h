/* SPDX-License-Identifier: GPL-2.0-only */
/* -j SET. No program can write into the kernel's sets. So what a rule changes is kept here, where every search of the set meets it at once, until
 * the agent has brought it into the set; a ring tells the agent that there is something. Without an agent it stays.
 *
 * A change is of one element of one set, which its place in the kernel tells, so swaps and other names do not mislead. Of sets with prefixes it
 * is one as long as the set's longest, so what will be the longest is noted, too (SET_HOSTS). */
#pragma once

#include "kernel_load.h"
#include "bt.h"
#include "log.h"
#include "ops_arg.h"
#include "set_walk.h"

#define SET_NOMATCH 3 /* what is found, with that flag */
#define SET_SECOND 1000000000ull
#define SET_MOST_SECONDS (0xffffffffu / 1000)
/* Extensions of elements that a change of one that is there changes: time, marks. */
#define SET_EXT_RENEWED 9

struct bt_set_head_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP | BPF_F_MMAPABLE);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bt_set_head));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct bt_set_head_map);
} bt_set_heads SEC(".maps");

struct bt_set_changes_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct bt_set_key));
	__uint(value_size, sizeof(struct bt_set_change));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct bt_set_changes_map);
} bt_set_changes SEC(".maps");

static __always_inline struct bt_set_head *set_head(void)
{
	__u32 zero = 0;
	void *heads = bpf_map_lookup_elem(&bt_set_heads, &zero);

	return heads ? bpf_map_lookup_elem(heads, &zero) : NULL;
}

/* Whether there are changes, for the search that begins. */
static __always_inline void set_changes_begin(struct bt_set_walk *w)
{
	struct bt_set_head *h = set_head();

	w->some = h && h->some[0] | h->some[1] ? 1 | (h->heap & 1) << 1 : 0;
}

/* Makes the key that tells that a change gives the set whole addresses for prefixes. */
static __always_inline void set_hosts_key(struct bt_set_walk *w, __u32 heap)
{
	w->changed.set = w->set;
	w->changed.guard = 0;
	w->changed.heap = heap;
	__builtin_memset(w->changed.elem, 0xff, sizeof(w->changed.elem));
}

static __always_inline bool set_hosts(struct bt_set_walk *w)
{
	void *changes = w->some ? bpf_map_lookup_elem(&bt_set_changes, &w->none) : NULL;

	if (!changes)
		return false;
	set_hosts_key(w, 0);
	if (bpf_map_lookup_elem(changes, &w->changed))
		return true;
	w->changed.heap = 1;
	return bpf_map_lookup_elem(changes, &w->changed);
}

/* What tells a set from another that has its place later. */
static __always_inline __u32 set_guard(const struct bt_set_type *t, __u64 data)
{
	return t->initval == SET_NO_16 ? k64(data + t->members) >> 4 : k32(data + t->initval);
}

/* What rules have made of the element whose key stands in w->key: 1: it is there, 0: it is not, SET_ON: they changed nothing. */
static __always_inline int set_changed(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	struct bt_set_change *v;
	void *changes;

	if (likely(!(w->some | w->write)))
		return SET_ON;
	w->changed.set = w->set;
	w->changed.guard = set_guard(&c->f->types[masked(w->type, 15)], w->data);
	__builtin_memcpy(w->changed.elem, w->key, sizeof(w->changed.elem));
	w->keyed = 1;
	changes = w->some ? bpf_map_lookup_elem(&bt_set_changes, &w->none) : NULL;
	if (!changes)
		return SET_ON;
	w->changed.heap = w->some >> 1;
	v = bpf_map_lookup_elem(changes, &w->changed);
	if (!v) {
		w->changed.heap ^= 1;
		v = bpf_map_lookup_elem(changes, &w->changed);
	}
	if (!v)
		return SET_ON;
	w->elem = 0;
	return v->what == SET_ADDED && !(v->expires && bpf_ktime_get_ns() >= v->expires);
}

static __always_inline void set_tell(void)
{
	struct bt_event_head *e = bpf_ringbuf_reserve(&bt_events, sizeof(*e), 0);

	/* Where the ring is full, the agent looks when it empties it. */
	if (!e)
		return;
	__builtin_memset(e, 0, sizeof(*e));
	e->kind = EVENT_SET;
	bpf_ringbuf_submit(e, 0);
}

/* Of what the element consists, for the agent. */
static __always_inline void set_describe(struct bt_set_walk *w, const struct bt_set_type *t, struct bt_set_change *v)
{
	bool ip = w->type == SETT_BITMAP_IP || (w->type > SETT_BITMAP_PORT && t->ip != SET_NO_8);
	bool port = w->type == SETT_BITMAP_PORT || (w->type > SETT_BITMAP_PORT && t->port != SET_NO_8);

	v->has = 0;
	v->proto = 0;
	v->mark = w->mark;
	if (ip) {
		v->has |= HAS_IP;
		*(bt_addr *)v->ip = w->type == SETT_BITMAP_IP ? w->addr[w->rule.sides & 1] : w->ip;
	}
	if (port) {
		v->has |= HAS_PORT;
		*(__u16 *)v->port = w->type == SETT_BITMAP_PORT ? w->port[w->rule.sides & 1] : w->port[w->rule.sides >> 1 & 1];
	}
	if (w->type <= SETT_BITMAP_PORT)
		return;
	if (port) {
		v->has |= HAS_PROTO;
		v->proto = w->proto;
	}
	if (t->ip2 != SET_NO_8) {
		v->has |= HAS_IP2;
		*(bt_addr *)v->ip2 = w->ip2;
	}
	if (t->nets != SET_NO_16) {
		v->has |= HAS_CIDR;
		v->cidr = w->cidr;
	}
	if (t->mark != SET_NO_8)
		v->has |= HAS_MARK;
	if (t->mac != SET_NO_8) {
		__u64 mac = w->mac[w->type == SETT_HASH_MAC ? w->rule.sides & 1 : w->rule.sides >> 1 & 1];
		v->has |= HAS_MAC;
		*(__u32 *)(v->mac) = mac;
		*(__u16 *)(v->mac + 4) = mac >> 32;
	}
}

/* After a search: adds the element, or deletes it, as `asked` (SETW_*) says. */
__noinline int bt_set_write(struct __sk_buff *skb, __u32 asked, __u32 seconds)
{
	keep_arg(skb);
	__u32 zero = 0, heap;
	struct bt_set_walk *w = bpf_map_lookup_elem(&bt_set_scratch, &zero);
	struct bt_set_conf *f = bpf_map_lookup_elem(&bt_sets, &zero);
	void *changes = bpf_map_lookup_elem(&bt_set_changes, &zero);
	struct bt_set_head *h = set_head();

	if (!w || !f || !changes || !h || !w->keyed)
		return 0;
	/* What is there already is new only if it is asked to be, and only in what the set keeps of it. */
	if (asked & SETW_ADD ? w->found && !(asked & SETW_EXIST && (w->ext & SET_EXT_RENEWED || w->found == SET_NOMATCH)) : !w->found)
		return 0;
	struct bt_set_change *v = &w->change;
	set_describe(w, &f->types[masked(w->type, 15)], v);
	v->what = asked & SETW_ADD ? SET_ADDED : SET_DELETED;
	v->family = k8(w->set + f->family);
	v->at = bpf_ktime_get_ns();
	v->expires = 0;
	if (w->ext & SET_EXT_TIMEOUT) {
		v->has |= HAS_TIMEOUT;
		if (!(asked & SETW_TIMEOUT))
			seconds = k32(w->set + f->timeout);
		else if (seconds > SET_MOST_SECONDS)
			seconds = SET_MOST_SECONDS;
		if (seconds)
			v->expires = v->at + seconds * SET_SECOND;
	}
	heap = h->heap & 1;
	w->changed.heap = heap;
	/* What is added again and again. */
	struct bt_set_change *old = v->what == SET_ADDED ? bpf_map_lookup_elem(changes, &w->changed) : NULL;
	if (old && old->what == SET_ADDED) {
		old->expires = v->expires;
		return 0;
	}
	if (bpf_map_update_elem(changes, &w->changed, v, BPF_ANY)) {
		stat_add(STAT_SET_LOST);
		return 0;
	}
	if (v->has & HAS_CIDR && w->longer) {
		set_hosts_key(w, heap);
		v->what = SET_HOSTS;
		bpf_map_update_elem(changes, &w->changed, v, BPF_ANY);
	}
	if (!h->some[heap] && !__sync_lock_test_and_set(&h->some[heap], 1))
		set_tell();
	return 0;
}
