/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guard (guard.bpf.c) reads and user space or the tcx programs write. The maps stand in the object of the tcx programs too, so that
 * they are made and pinned with the other maps. */
#pragma once

/* Devices whose ingress program ran for every packet that is still on its way up: set once the attaching call came back. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u32);
} bt_covered SEC(".maps");

/* Ports of bridges whose bridged packets netfilter's hooks see, and of which bridge each is. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct bt_port);
} bt_ports SEC(".maps");

/* The port, if its program asked PREROUTING of every packet that came by it. */
static __always_inline struct bt_port *asking_port(__u32 port)
{
	struct bt_port *of = bpf_map_lookup_elem(&bt_ports, &port);

	return of && bpf_map_lookup_elem(&bt_covered, &port) ? of : NULL;
}

/* Numbers of this namespace's programs, and what they are for (bt_guarded). */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} bt_guard_progs SEC(".maps");

/* In skb->tc_index, between the program where a packet comes in, which did not ask INPUT's rules since its route leads elsewhere, and the one
 * where it leaves: that this is so, or with MAC_KNOWN the rest of its link address (mac_carry). Meanwhile the route may become one to this host. */
#define MAC_KNOWN 0x8000u
#define ELSEWHERE 0x7450u

static __always_inline bool is_elsewhere(__u32 tc_index)
{
	return tc_index & MAC_KNOWN || tc_index == ELSEWHERE;
}
