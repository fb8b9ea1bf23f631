/* SPDX-License-Identifier: GPL-2.0-only */
/* What the guard (guard.bpf.c) reads and user space writes. They stand in the object of the tcx programs too, so that they are made and
 * pinned with the other maps. */
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
