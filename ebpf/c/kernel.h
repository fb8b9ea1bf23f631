/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel itself keeps of a packet, beyond what __sk_buff shows: read where it stands, by CO-RE.
 *
 * bpf_cast_to_kern_ctx and bpf_rdonly_cast are kfuncs (Linux 6.2) that the verifier replaces by a move. A kfunc is called by its number
 * in the kernel's types, which is known when a program is loaded: the loader finds the calls below by their marks and writes the number
 * there (runtime's kfuncs.rs). */
#pragma once

#include "bt.h"

/* Known to the loader. */
#define KFUNC_CAST_TO_KERN_CTX 0x6b660001
#define KFUNC_RDONLY_CAST 0x6b660002

#define SKB_DST_PTRMASK (~1ul)

/* `call mark`, with BPF_PSEUDO_KFUNC_CALL as its source register. */
#define KFUNC_CALL(mark) ".byte 0x85, 0x20, 0, 0\n.long " #mark "\n"
#define KFUNC(mark) KFUNC_CALL(mark)

struct sock {
	__u16 sk_type;
} __attribute__((preserve_access_index));
struct sk_buff___sent {
	struct net_device *dev;
	struct sock *sk;
	unsigned long _skb_refdst;
} __attribute__((preserve_access_index));
struct dst_entry {
	struct net_device *dev;
} __attribute__((preserve_access_index));

static __always_inline void *kernel_skb(struct __sk_buff *skb)
{
	register void *r1 asm("r1") = skb;
	register void *r0 asm("r0");
	asm volatile(KFUNC(KFUNC_CAST_TO_KERN_CTX) : "=r"(r0), "+r"(r1) : : "r2", "r3", "r4", "r5");
	return r0;
}

/* `address` as one of a kernel structure whose type has the number `type`. */
static __always_inline void *kernel_object(unsigned long address, __u32 type)
{
	register void *r1 asm("r1") = (void *)address;
	register __u64 r2 asm("r2") = type;
	register void *r0 asm("r0");
	asm volatile(KFUNC(KFUNC_RDONLY_CAST) : "=r"(r0), "+r"(r1), "+r"(r2) : : "r3", "r4", "r5");
	return r0;
}

/* Whether the IP stack sends this packet by this device. It alone gives a packet a route out of the device that it leaves by; what packet
 * sockets, devices stacked on this one (macvlan, ipvlan, ifb) and programs of others send is below netfilter, and has none or another's. */
static __always_inline bool sent_by_stack(struct __sk_buff *skb)
{
	struct sk_buff___sent *k = kernel_skb(skb);
	struct dst_entry *dst;

	dst = kernel_object(k->_skb_refdst & SKB_DST_PTRMASK, bpf_core_type_id_kernel(struct dst_entry));
	if (dst->dev == k->dev)
		return true;
	/* BPF_PROG_TEST_RUN's packets, which have no route, are of a socket of no type. Read once: a pointer read again may be null. */
	struct sock *sk = k->sk;
	barrier_var(sk);
	return sk && !sk->sk_type;
}
