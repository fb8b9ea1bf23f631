/* SPDX-License-Identifier: GPL-2.0-only */
/* The addresses of this host's devices, where the kernel keeps them: one that was given a moment ago counts at once, while bt_addrs has it from the
 * next command that changes a rule, or from the agent, on. */
#pragma once

#include "addr.h"
#include "jhash.h"
#include "kernel_net.h"

#define ADDR_BUCKET_BITS 8    /* IN4_ADDR_HSIZE_SHIFT, IN6_ADDR_HSIZE_SHIFT */
#define MAX_ADDR_BUCKET 16    /* addresses looked at to find one */
#define GOLDEN_RATIO_32 0x61c88647u

#if BT_FAMILY == 6
#define IFA_F_OPTIMISTIC 4
#define IFA_F_TENTATIVE 0x40

struct inet6_dev___own {
	struct net_device___k *dev;
} __attribute__((preserve_access_index));
/* An address of a device. */
struct inet6_ifaddr {
	bt_addr addr;
	__u32 flags;
	struct inet6_dev___own *idev;
	struct hlist_node addr_lst;
} __attribute__((preserve_access_index));
#define OWN_ADDR struct inet6_ifaddr

static __always_inline bool own_addr_is(OWN_ADDR *own, const bt_addr *addr)
{
	return own->addr.w[3] == addr->w[3] && own->addr.w[2] == addr->w[2] && own->addr.w[1] == addr->w[1] && own->addr.w[0] == addr->w[0] &&
	        (own->flags & (IFA_F_TENTATIVE | IFA_F_OPTIMISTIC)) != IFA_F_TENTATIVE;
}

static __always_inline struct net_device___k *own_addr_device(OWN_ADDR *own)
{
	return own->idev->dev;
}

#define ADDR_HASHES 2

static __always_inline struct hlist_head *own_addrs(struct net___k *net)
{
	return net->ipv6.inet6_addr_lst;
}

/* inet6_addr_hash; n is 1 for that of kernels before 6.12 and the stable series of its time. */
static __always_inline __u32 own_addr_hash(struct net___k *net, const bt_addr *addr, __u32 n)
{
	__u32 a, b, c;

	if (n)
		return addr->w[0] ^ addr->w[1] ^ addr->w[2] ^ addr->w[3] ^ net->hash_mix;
	a = b = c = JHASH_INITVAL + (4 << 2) + net->hash_mix;
	a += addr->w[0];
	b += addr->w[1];
	c += addr->w[2];
	JHASH_MIX(a, b, c);
	return jhash_end(a + addr->w[3], b, c);
}
#else
struct in_device___own {
	struct net_device___k *dev;
} __attribute__((preserve_access_index));
/* An address of a device. */
struct in_ifaddr {
	struct hlist_node addr_lst;
	__u32 ifa_local;
	struct in_device___own *ifa_dev;
} __attribute__((preserve_access_index));
#define OWN_ADDR struct in_ifaddr

static __always_inline bool own_addr_is(OWN_ADDR *own, const bt_addr *addr)
{
	return own->ifa_local == *addr;
}

static __always_inline struct net_device___k *own_addr_device(OWN_ADDR *own)
{
	return own->ifa_dev->dev;
}

#define ADDR_HASHES 1

/* (Kernels before 6.14 keep IPv4's for all namespaces, where programs don't get at them.) */
static __always_inline struct hlist_head *own_addrs(struct net___k *net)
{
	return bpf_core_field_exists(struct netns_ipv4, inet_addr_lst) ? net->ipv4.inet_addr_lst : NULL;
}

/* inet_addr_hash. */
static __always_inline __u32 own_addr_hash(struct net___k *net, const bt_addr *addr, __u32 n)
{
	__u32 base = JHASH_INITVAL + (1 << 2) + net->hash_mix;

	return jhash_end(base + *addr, base, base);
}
#endif

/* The device whose address p->sought is, if that device is up and no VRF's; 0: none. */
__noinline int bt_own_addr(struct __sk_buff *skb)
{
	struct net___k *net = net_of(skb);
	struct hlist_head *all = own_addrs(net), *head;
	struct bt_pkt *p = pkt();
	struct net_device___k *dev;
	unsigned long node;
	__u32 hash;

	if (!p || !all)
		return 0;
	for (__u32 n = 0; n < ADDR_HASHES; n++) {
		hash = own_addr_hash(net, &p->sought, n) * GOLDEN_RATIO_32 >> (32 - ADDR_BUCKET_BITS); /* hash_32 */
		head = kernel_object((unsigned long)all + hash * sizeof(void *), bpf_core_type_id_kernel(struct hlist_head));
		node = (unsigned long)head->first;
		for (__u32 i = 0; i < MAX_ADDR_BUCKET && node; i++) {
			OWN_ADDR *own = kernel_object(node - bpf_core_field_offset(OWN_ADDR, addr_lst), bpf_core_type_id_kernel(OWN_ADDR));
			if (own_addr_is(own, &p->sought)) {
				dev = own_addr_device(own);
				return dev->flags & IFF_UP && !has_vrf(dev) ? dev->ifindex : 0;
			}
			node = (unsigned long)own->addr_lst.next;
		}
	}
	return 0;
}

/* Whether p->sought is an address of device `dev`, or of any if that is 0. */
static __always_inline bool own_addr(struct __sk_buff *skb, __u32 dev)
{
	__u32 at = bt_own_addr(skb);

	return at && (!dev || at == dev);
}
