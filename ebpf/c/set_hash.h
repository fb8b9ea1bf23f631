/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets of the types that are hash tables, with prefixes or without: one search. */
#pragma once

#include "ops_stateful.h"
#include "set_walk.h"

static __always_inline void put_addr(struct bt_set_walk *w, __u32 at, bt_addr addr)
{
	if (at == SET_NO_8)
		return;
	at = masked(at, 0x3c);
	*(bt_addr *)((__u8 *)w->key + at) = addr;
}

static __always_inline void put_8(struct bt_set_walk *w, __u32 at, __u32 v)
{
	if (at == SET_NO_8)
		return;
	at = masked(at, 0x3f);
	((__u8 *)w->key)[at] = v;
}

static __always_inline bt_addr cut(bt_addr addr, __u32 len)
{
#if BT_FAMILY == 6
	for (int i = 0; i < 4; i++)
		addr.w[i] &= prefix_word(len, i);
	return addr;
#else
	return addr & prefix_word(len, 0);
#endif
}

static __always_inline bt_addr and_kernel(bt_addr addr, __u64 at)
{
#if BT_FAMILY == 6
	for (int i = 0; i < 4; i++)
		addr.w[i] &= k32(at + 4 * i);
	return addr;
#else
	return addr & k32(at);
#endif
}

/* The kernel's jhash2 of the key. */
static __always_inline __u32 set_hash(const __u32 *key, __u32 words, __u32 seed)
{
	__u32 a, b, c, at = 0;

	a = b = c = JHASH_INITVAL + (words << 2) + seed;
	for (int i = 0; i < 3 && words > 3; i++) {
		/* Older verifiers forget how far it may be. */
		at = masked(at, 15);
		a += key[at];
		b += key[at + 1];
		c += key[at + 2];
		JHASH_MIX(a, b, c);
		at += 3;
		words -= 3;
	}
	at = masked(at, 15);
	if (words > 2)
		c += key[at + 2];
	if (words > 1)
		b += key[at + 1];
	a += key[at];
	return jhash_end(a, b, c);
}

/* Takes the bucket of the key up; false: it is empty. */
static __always_inline bool set_bucket(struct set_ctx *c, const struct bt_set_type *t)
{
	struct bt_set_walk *w = c->w;
	__u64 table = k64(w->data + t->table);
	__u32 hash = set_hash(w->key, t->words, k32(w->data + t->initval));
	__u32 bits = k8(table + c->f->bits);

	hash &= (1u << (bits & 31)) - 1;
	w->bucket = k64(table + c->f->buckets + 8ull * hash);
	if (!w->bucket)
		return false;
	w->i = 0;
	w->pos = k8(w->bucket + c->f->pos);
	w->used = k64(w->bucket + c->f->used);
	w->phase = SET_ELEM;
	return true;
}

/* Makes the key: the set's answer, or that the search goes on. */
static __always_inline int set_key(struct set_ctx *c, const struct bt_set_type *t)
{
	struct bt_set_walk *w = c->w;
	__u32 sides = w->rule.sides;

	__builtin_memset(w->key, 0, sizeof(w->key));
	w->ip = w->addr[sides & 1];
	w->ip2 = w->addr[t->port == SET_NO_8 ? sides >> 1 & 1 : sides >> 2 & 1];
	if (t->bitmask != SET_NO_16) {
		w->ip = and_kernel(w->ip, w->data + t->bitmask);
		w->ip2 = and_kernel(w->ip2, w->data + t->bitmask);
		if (t->nets == SET_NO_16 && addr_is_none(w->ip))
			return 0;
	}
	put_addr(w, t->ip, w->ip);
	put_addr(w, t->ip2, w->ip2);
	if (t->port != SET_NO_8) {
		if (!w->has_port)
			return 0;
		*(__u16 *)((__u8 *)w->key + masked(t->port, 0x3e)) = w->port[sides >> 1 & 1];
		put_8(w, t->proto, w->proto);
	}
	if (t->mark != SET_NO_8)
		w->key[masked(t->mark >> 2, 15)] = w->mark & k32(w->data + t->markmask);
	if (t->mac != SET_NO_8) {
		__u64 mac = w->mac[w->type == SETT_HASH_MAC ? sides & 1 : sides >> 1 & 1];
		if (!mac)
			return 0;
		__u32 at = masked(t->mac >> 2, 15);
		w->key[at] = mac;
		w->key[at + 1] = mac >> 32;
	}
	if (t->nets == SET_NO_16) {
		w->phase = SET_CHANGED;
		return set_may_change(w) || set_bucket(c, t) ? SET_ON : 0;
	}
	if (w->write && (w->outer || !set_netted(t)))
		return 0;
	if (t->iface != SET_NO_8) {
		if (!w->iface[0])
			return 0;
		put_8(w, t->elem, 1);
	}
	w->phase = SET_PREFIXES;
	return SET_ON;
}

/* As the kernel's barrier between loads. */
static __always_inline void set_fence(struct bt_set_walk *w)
{
	__u32 order = __sync_fetch_and_add(&w->fence, 1);

	barrier_var(order);
}

/* Takes the prefixes up. Some kernels have them in the set, others (7.2) behind a pointer for each side of the elements, with a number that
 * is odd while somebody changes them. */
static __always_inline int set_prefixes(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	const struct bt_set_type *t = &c->f->types[masked(w->type, 15)];

	w->j = w->k = w->multi = 0;
	w->phase = SET_PREFIX;
	w->behind = !t->nlen;
	if (!w->behind)
		return SET_ON;
	for (int side = 0; side < 2; side++) {
		w->nets[side] = side && t->cidr2 == SET_NO_8 ? 0 : k64(w->data + t->nets + 8 * side);
		w->seq[side] = k32(w->nets[side] + c->f->prefixes_seq);
		if (w->seq[side] & 1)
			w->phase = SET_PREFIXES;
	}
	set_fence(w);
	return SET_ON;
}

static __always_inline bool prefixes_changed(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;

	set_fence(w);
	return k32(w->nets[0] + c->f->prefixes_seq) != w->seq[0] || k32(w->nets[1] + c->f->prefixes_seq) != w->seq[1];
}

#define PREFIX_UNUSED 0x100u

/* The nth prefix: one more than its length, PREFIX_UNUSED, or 0 behind the last one. */
static __always_inline __u32 prefix_at(const struct set_ctx *c, const struct bt_set_type *t, __u32 side, __u32 n)
{
	const struct bt_set_walk *w = c->w;

	if (!w->behind)
		return n < t->nlen ? k8(w->data + t->nets + n * t->stride + t->cidr_at + side) : 0;
	if (n >= k8(w->nets[side] + c->f->prefixes_len))
		return 0;
	/* Eight bits of length; the others count the elements. */
	__u32 v = k32(w->nets[side] + c->f->prefixes_list + 4 * n);
	return v >> 8 ? (v & 0xff) + 1 : PREFIX_UNUSED;
}

static __always_inline int set_prefix(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	const struct bt_set_type *t = &c->f->types[masked(w->type, 15)];
	__u32 a, b = 0;

	if (w->multi)
		return 0;
	a = prefix_at(c, t, 0, w->j);
	if (set_may_change(w) && set_netted(t)) {
		if (w->write) {
			/* What is added is as long as the longest prefix that there is. */
			w->longer = !a;
			if (!a || w->hosts)
				a = SET_HOST;
		} else if (!w->k) {
			/* Of such a length the set itself may know nothing yet. */
			w->k = 1;
			w->j--;
			a = SET_HOST;
		}
	}
	if (!a)
		return 0;
	if (a == PREFIX_UNUSED) {
		w->j++;
		return SET_ON;
	}
	if (t->cidr2 != SET_NO_8) {
		b = prefix_at(c, t, 1, w->k);
		if (!b) {
			w->j++;
			w->k = 0;
			return SET_ON;
		}
		w->k++;
		if (b == PREFIX_UNUSED)
			return SET_ON;
		put_addr(w, t->ip, cut(w->ip, a - 1));
		put_addr(w, t->ip2, cut(w->ip2, b - 1));
		put_8(w, t->cidr, a - 1);
		put_8(w, t->cidr2, b - 1);
	} else {
		w->j++;
		/* Of hash:ip,port,net it is the second address. */
		if (t->ip2 != SET_NO_8)
			put_addr(w, t->ip2, cut(w->ip2, a - 1));
		else
			put_addr(w, t->ip, cut(w->ip, a - 1));
		put_8(w, t->cidr, t->packed ? a - 2 : a - 1);
		if (set_may_change(w) && set_netted(t)) {
			w->cidr = a - 1;
			w->multi = w->write;
			w->phase = SET_CHANGED;
			return SET_ON;
		}
	}
	set_bucket(c, t);
	return SET_ON;
}

/* Whether the device's name is the element's, or begins with it. */
static __always_inline bool set_iface(struct bt_set_walk *w, const struct bt_set_type *t, __u64 elem)
{
	__u64 a = k64(elem + t->iface), b = k64(elem + t->iface + 8), in_a = before_end(a), in_b = before_end(b);

	if (in_a != ~0ull)
		in_b = 0;
	if (t->wildcard != SET_NO_8 && k8(elem + t->wildcard))
		return !((w->iface[0] ^ a) & in_a) && !((w->iface[1] ^ b) & in_b);
	return w->iface[0] == (a & in_a) && w->iface[1] == (b & in_b);
}

static __always_inline int set_elem(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	const struct bt_set_type *t = &c->f->types[masked(w->type, 15)];
	__u32 i = w->i, flag = t->packed ? 0x80 : 0xff, last = 0;

	if (i >= w->pos || i >= 64) {
		w->phase = SET_PREFIX;
		return t->nets == SET_NO_16 ? 0 : SET_ON;
	}
	w->i = i + 1;
	if (!(w->used >> i & 1))
		return SET_ON;
	__u64 elem = w->bucket + c->f->value + w->dsize * i;
	w->elem = elem;
	for (int n = 0; n < 12; n++) {
		if (n >= t->words)
			break;
		__u32 differs = k32(elem + 4 * n) ^ w->key[n];
		if (n == t->nomatch >> 2)
			differs &= ~(flag << 8 * (t->nomatch & 3));
		if (!differs)
			continue;
		if (t->iface == SET_NO_8 || n + 1 != t->words)
			return SET_ON;
		last = differs;
	}
	if (t->iface != SET_NO_8) {
		/* Once a prefix has the address, shorter ones are not asked, whatever the devices. */
		if (last & 0xffu << 8 * (t->cidr & 3))
			return SET_ON;
		w->multi = 1;
		if (last || !set_iface(w, t, elem))
			return SET_ON;
	}
	if (!set_extensions(c, elem)) {
		w->multi = 0;
		return SET_ON;
	}
	return t->nomatch != SET_NO_8 && k8(elem + t->nomatch) & flag ? -1 : 1;
}
