/* SPDX-License-Identifier: GPL-2.0-only */
/* Numbers from anywhere in the kernel's memory, for what CO-RE does not reach: the structures of modules. All loads give zero where there is no memory. */
#pragma once

#include "kernel.h"

/* Structures of the kernel that begin with a number of 8, 4, 2 bytes and one: to load such a number from anywhere. */
struct timespec64 {
	__s64 tv_sec;
} __attribute__((preserve_access_index));
struct in_addr {
	__u32 s_addr;
} __attribute__((preserve_access_index));
struct sockaddr {
	unsigned short sa_family;
} __attribute__((preserve_access_index));
struct icmphdr {
	__u8 type;
} __attribute__((preserve_access_index));

static __always_inline __u64 k64(__u64 at)
{
	struct timespec64 *o = kernel_object(at, bpf_core_type_id_kernel(struct timespec64));
	return o->tv_sec;
}

static __always_inline __u32 k32(__u64 at)
{
	struct in_addr *o = kernel_object(at, bpf_core_type_id_kernel(struct in_addr));
	return o->s_addr;
}

static __always_inline __u32 k16(__u64 at)
{
	struct sockaddr *o = kernel_object(at, bpf_core_type_id_kernel(struct sockaddr));
	return o->sa_family;
}

static __always_inline __u32 k8(__u64 at)
{
	struct icmphdr *o = kernel_object(at, bpf_core_type_id_kernel(struct icmphdr));
	return o->type;
}
