/* SPDX-License-Identifier: GPL-2.0-only */
/* The connection table's maps, and what rules ask of a packet's connection. */
#pragma once

#include "bt.h"

/* Connections by number. User space sizes it: max_conns plus a quarter (numbers rest a while before they are used again), and may
 * map it (BPF_F_MMAPABLE): to list, and to end a connection by an atomic or of ST_DYING into `status`. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1024);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bt_conn);
} bt_conns SEC(".maps");

static __always_inline struct bt_conn *bt_conn_at(__u32 i)
{
	return bpf_map_lookup_elem(&bt_conns, &i);
}

/* The packet's connection, or NULL. */
static __always_inline struct bt_conn *bt_conn_of(const struct bt_pkt *p)
{
	if (!p->ct)
		return NULL;
	return bt_conn_at(p->ct - 1);
}

/* CTS_* of the packet, as `-m state` and `-m conntrack --ctstate` see it. */
static __always_inline __u32 bt_ct_state_bits(const struct bt_pkt *p)
{
	struct bt_conn *c = bt_conn_of(p);
	__u32 bits;

	if (!c)
		return p->ctinfo == CI_UNTRACKED ? CTS_UNTRACKED : p->ctinfo == CI_NEW ? CTS_NEW : CTS_INVALID;
	bits = p->ctinfo == CI_NEW ? CTS_NEW : p->ctinfo == CI_ESTABLISHED ? CTS_ESTABLISHED
	     : p->ctinfo == CI_RELATED ? CTS_RELATED : CTS_INVALID;
	if (c->status & ST_SRC_NAT)
		bits |= CTS_SNAT;
	if (c->status & ST_DST_NAT)
		bits |= CTS_DNAT;
	return bits;
}
