/* SPDX-License-Identifier: GPL-2.0-only */
/* What a search of the kernel's sets (ops_set.h) has in hand, and what its parts share. */
#pragma once

#include "kernel_load.h"
#include "bt.h"

#define SET_STEPS (1 << 21)
#define SET_MANY (1 << 16)
#define SET_TRIES 4
#define SET_FEATURES 0xffu
#define SET_FEATURE_LIST 0x10u
#define SET_FEATURE_NOMATCH 0x80u
#define SET_EXT_TIMEOUT 1
#define SET_EXT_COUNTER 2
#define SET_EXT_MARKS 8
#define SET_NO_16 0xffffu
#define SET_NO_8 0xffu
#define SET_MAC_FILLED 1

enum set_phase { SET_ENTER, SET_PREFIXES, SET_PREFIX, SET_ELEM, SET_MEMBER, SET_CHANGED };
/* What a step gives: the set's answer as the kernel's (1: has it, -1: has it as `nomatch`, 0: does not), or that the search goes on. */
#define SET_ON 2

struct bt_set_walk {
	/* The namespace's sets. */
	__u64 list;
	__u32 max, at;
	/* The rule. */
	struct bt_set_params rule;
	/* The packet; side 0 is the destination's, 1 the source's. */
	bt_addr addr[2];
	__u64 mac[2]; /* 0: none */
	__u64 iface[2]; /* name of the second dimension's device, without what stands behind its end */
	__u32 mark;
	__u16 port[2]; /* network byte order */
	__u8 proto, has_port;
	/* The list that is gone through; 0: none. */
	__u64 outer, head, node;
	__u32 outer_ext, outer_timeout, outer_counter;
	/* The set that is searched. */
	__u64 set, data, dsize;
	__u32 type, features, ext, timeout, counter;
	bt_addr ip, ip2;
	__u32 phase;
	__u64 nets[2]; /* its prefixes, where they are behind pointers */
	__u32 seq[2];  /* what was written there when they were taken up */
	__u32 behind;
	__u32 j, k;   /* the next prefixes */
	__u32 i, pos; /* the next element of the bucket */
	__u64 bucket, used;
	__u32 multi;
	__u32 key[20];
	__u32 found;
	__u64 elem; /* what was found; 0: what rules added, or nothing */
	__u32 fence;
	/* Changes that rules make. */
	__u32 some; /* 0: there are none; else 1, and 2 if they write into the second heap */
	__u32 none; /* 0: a key of maps of one element, on no stack */
	__u32 write; /* 0: it asks only */
	__u32 hosts;  /* a change is of a whole address where the set had no prefix so long */
	__u32 longer; /* this one will be */
	__u32 cidr;   /* its prefix's length */
	__u32 keyed; /* `changed` is the element's */
	struct bt_set_key changed;
	struct bt_set_change change;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_set_walk);
} bt_set_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_set_conf);
} bt_sets SEC(".maps");

struct set_ctx {
	struct bt_set_walk *w;
	struct bt_set_conf *f;
};

/* Whether what rules changed is to be asked, or is about to be changed. */
static __always_inline bool set_may_change(const struct bt_set_walk *w)
{
	return unlikely(w->some | w->write);
}

/* Types with one prefix, and no device's name, whose elements rules may add. */
static __always_inline bool set_netted(const struct bt_set_type *t)
{
	return t->nets != SET_NO_16 && t->cidr2 == SET_NO_8 && t->iface == SET_NO_8;
}

#define SET_HOST (BT_FAMILY == 6 ? 129u : 33u) /* a whole address, as prefix_at tells it */

/* The bytes of `v` before its first zero byte, as a mask. */
static __always_inline __u64 before_end(__u64 v)
{
	__u64 zero = (v - 0x0101010101010101ull) & ~v & 0x8080808080808080ull;

	return zero ? ((zero & -zero) >> 7) - 1 : ~0ull;
}

static __always_inline bool set_expired(__u64 at)
{
	__u64 t = k64(at);

	return t && (__s64)(t - bpf_jiffies64()) < 0;
}

static __always_inline bool set_counted(__u64 have, __u64 want, __u32 how)
{
	switch (how) {
	case 1:
		return have == want;
	case 2:
		return have != want;
	case 3:
		return have < want;
	case 4:
		return have > want;
	}
	return true;
}

static __always_inline bool set_counters(const struct set_ctx *c, __u64 counter)
{
	const struct bt_set_params *r = &c->w->rule;

	return set_counted(k64(counter + c->f->packets), r->packets, r->packets_op) &&
	       set_counted(k64(counter + c->f->bytes), r->bytes, r->bytes_op);
}

/* Whether an element's extensions let it match. */
static __always_inline bool set_extensions(const struct set_ctx *c, __u64 elem)
{
	struct bt_set_walk *w = c->w;

	if (w->ext & SET_EXT_TIMEOUT && set_expired(elem + w->timeout))
		return false;
	/* Of a list's members counters are not asked. */
	return w->outer || !(w->ext & SET_EXT_COUNTER) || set_counters(c, elem + w->counter);
}

static __always_inline __u32 prefix_word(__u32 len, __u32 word)
{
	__u32 bits = len > 32 * word ? len - 32 * word : 0;

	if (bits >= 32)
		return ~0u;
	return bits ? bpf_htonl(~0u << (32 - bits)) : 0;
}
