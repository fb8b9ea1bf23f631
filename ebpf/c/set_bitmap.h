/* SPDX-License-Identifier: GPL-2.0-only */
/* Sets of the types that are bitmaps. */
#pragma once

#include "set_walk.h"

/* The answer of the bit w->key[0]. */
static __always_inline int set_bit(struct set_ctx *c, const struct bt_set_type *t)
{
	struct bt_set_walk *w = c->w;
	__u32 id = w->key[0];

	if (!(k64(k64(w->data + t->members) + (id >> 6) * 8ull) >> (id & 63) & 1))
		return 0;
	__u64 elem = w->data + t->ext + w->dsize * id;
	w->elem = elem;
	if (w->type == SETT_BITMAP_IPMAC) {
		/* One without an address takes any. The kernel would put the packet's into it. */
		if (k8(elem + t->filled) != SET_MAC_FILLED)
			return 1;
		if ((k32(elem + t->mac) | (__u64)k16(elem + t->mac + 4) << 32) != w->mac[w->rule.sides >> 1 & 1])
			return 0;
	}
	return set_extensions(c, elem);
}

static __always_inline int set_bitmap(struct set_ctx *c, const struct bt_set_type *t)
{
	struct bt_set_walk *w = c->w;
	bool source = w->rule.sides & 1, ipmac = w->type == SETT_BITMAP_IPMAC;
	__u64 mac = w->mac[w->rule.sides >> 1 & 1];
	__u32 first, last, id, v;

	if (w->type == SETT_BITMAP_PORT) {
		if (!w->has_port || (w->proto != IPPROTO_TCP && w->proto != IPPROTO_UDP))
			return 0;
		v = bpf_ntohs(w->port[source]);
		first = k16(w->data + t->first);
		last = k16(w->data + t->last);
		id = v - first;
	} else {
#if BT_FAMILY == 6
		return 0;
#else
		v = bpf_ntohl(w->addr[source]);
		first = k32(w->data + t->first);
		last = k32(w->data + t->last);
		id = v - first;
		if (!ipmac) {
			__u32 hosts = k32(w->data + t->hosts);
			id = ((v & bpf_ntohl(prefix_word(k8(w->data + t->netmask), 0))) - first) / (hosts ? hosts : 1);
		}
#endif
	}
	if (v < first || v > last || (ipmac && !mac))
		return 0;
	w->key[0] = id;
	if (!ipmac && set_may_change(w)) {
		__builtin_memset(&w->key[1], 0, sizeof(w->key) - sizeof(w->key[0]));
		w->phase = SET_CHANGED;
		return SET_ON;
	}
	return set_bit(c, t);
}
