/* SPDX-License-Identifier: GPL-2.0-only */
/* What the addresses of this host's devices say, where the kernel keeps them: an address that a device was given a moment ago counts at once, while bt_addrs
 * has it from the next command that changes a rule, or from the agent, on. */
#pragma once

#include "addr.h"
#include "jhash.h"
#include "kernel_net.h"

#define RTN_LOCAL 2
#define RTN_BROADCAST 3

#if BT_FAMILY == 6
#define IFA_F_OPTIMISTIC 4
#define IFA_F_TENTATIVE 0x40

#define ADDR_BUCKET_BITS 8 /* IN6_ADDR_HSIZE_SHIFT */
#define MAX_ADDR_BUCKET 16 /* addresses looked at to find one */
#define ADDR_HASHES 2
#define GOLDEN_RATIO_32 0x61c88647u

struct inet6_dev___addrs {
	struct net_device___k *dev;
} __attribute__((preserve_access_index));
struct inet6_ifaddr {
	bt_addr addr;
	__u32 flags;
	struct inet6_dev___addrs *idev;
	struct hlist_node addr_lst;
} __attribute__((preserve_access_index));

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

/* The device whose address p->sought is, if that device is up and no VRF's; 0: none. */
__noinline int bt_own_addr(struct __sk_buff *skb)
{
	struct net___k *net = net_of(skb);
	struct hlist_head *head;
	struct bt_pkt *p = pkt();
	struct net_device___k *dev;
	unsigned long node;
	__u32 hash;

	if (!p)
		return 0;
	for (__u32 n = 0; n < ADDR_HASHES; n++) {
		hash = own_addr_hash(net, &p->sought, n) * GOLDEN_RATIO_32 >> (32 - ADDR_BUCKET_BITS); /* hash_32 */
		head = kernel_object((unsigned long)net->ipv6.inet6_addr_lst + hash * sizeof(void *), bpf_core_type_id_kernel(struct hlist_head));
		node = (unsigned long)head->first;
		for (__u32 i = 0; i < MAX_ADDR_BUCKET && node; i++) {
			struct inet6_ifaddr *ifa = kernel_object(node - bpf_core_field_offset(struct inet6_ifaddr, addr_lst),
								 bpf_core_type_id_kernel(struct inet6_ifaddr));
			if (addr_eq(ifa->addr, p->sought) && (ifa->flags & (IFA_F_TENTATIVE | IFA_F_OPTIMISTIC)) != IFA_F_TENTATIVE) {
				dev = ifa->idev->dev;
				return dev->flags & IFF_UP && !has_vrf(dev) ? dev->ifindex : 0;
			}
			node = (unsigned long)ifa->addr_lst.next;
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
#else
#define MAX_ADDRS 8192 /* devices and addresses that are looked at */
#define STRANGERS 1024 /* addresses of others, of all CPUs */
#define IFA_SECONDARY 1

struct in_ifaddr___addrs {
	struct in_ifaddr___addrs *ifa_next;
	__u32 ifa_local, ifa_mask, ifa_flags, ifa_broadcast;
	__u8 ifa_prefixlen;
} __attribute__((preserve_access_index));
struct in_device___addrs {
	struct in_ifaddr___addrs *ifa_list;
} __attribute__((preserve_access_index));
struct net___addrs {
	struct list_head dev_base_head;
} __attribute__((preserve_access_index));
struct net_device___addrs {
	struct list_head dev_list;
	unsigned int flags;
	int ifindex;
	struct in_device___addrs *ip_ptr;
} __attribute__((preserve_access_index));

struct dev_walk {
	unsigned long at, head;
	struct in_ifaddr___addrs *ifa;
	__u32 vrf, dev, addr;
	__u32 kind;
};

/* Looks at one address of a device, or for those of the next device. (Not one loop in the other: calls would be too deep.) Broadcast addresses are as
 * fib_add_ifaddr has them. */
static long addr_step(__u32 i, void *data)
{
	struct dev_walk *w = data;
	struct in_ifaddr___addrs *ifa = w->ifa;
	struct net_device___addrs *dev;
	__u32 local;
	bool has_own;

	if (ifa) {
		local = BPF_CORE_READ(ifa, ifa_local);
		has_own = !(BPF_CORE_READ(ifa, ifa_flags) & IFA_SECONDARY) && BPF_CORE_READ(ifa, ifa_prefixlen) < 31;
		if (w->addr == local)
			w->kind = RTN_LOCAL;
		else if (w->addr == BPF_CORE_READ(ifa, ifa_broadcast) || (has_own && w->addr == (local | ~BPF_CORE_READ(ifa, ifa_mask))))
			w->kind = RTN_BROADCAST;
		w->ifa = BPF_CORE_READ(ifa, ifa_next);
		return w->kind != 0;
	}
	if (!w->at || w->at == w->head)
		return 1;
	dev = (void *)(w->at - bpf_core_field_offset(struct net_device___addrs, dev_list));
	if (BPF_CORE_READ(dev, flags) & IFF_UP && (!w->dev || w->dev == BPF_CORE_READ(dev, ifindex)) && vrf_of_inline((unsigned long)dev) == w->vrf)
		w->ifa = BPF_CORE_READ(dev, ip_ptr, ifa_list);
	w->at = (unsigned long)BPF_CORE_READ(dev, dev_list.next);
	return 0;
}

/* What the address is to the devices of a VRF (0: of none), or to one of them, `ifindex`, if that is not 0: RTN_LOCAL, RTN_BROADCAST, 0: nothing. */
__noinline int bt_dev_addr(struct __sk_buff *skb, __u32 addr, __u32 vrf, __u32 ifindex)
{
	struct net___addrs *net = (void *)net_of(skb);
	struct dev_walk w = { .addr = addr, .vrf = vrf, .dev = ifindex };

	w.head = (unsigned long)net + bpf_core_field_offset(struct net___addrs, dev_base_head);
	w.at = (unsigned long)BPF_CORE_READ(net, dev_base_head.next);
	bpf_loop(MAX_ADDRS, addr_step, &w, 0);
	return w.kind;
}

/* Addresses that are no device's, each with the `rt_genid` at which all devices were looked at: it counts each change of an address (route_memo.h). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, STRANGERS);
	__type(key, __u32);
	__type(value, __u64);
} bt_strangers SEC(".maps");

/* As bt_dev_addr, of devices that are no VRF's. */
static __always_inline __u32 own_addr(struct __sk_buff *skb, __u32 addr, __u32 ifindex)
{
	__u32 at = bpf_ntohl(addr) & (STRANGERS - 1);
	struct net___k *net = net_of(skb);
	__u64 word = (__u64)addr << 32 | (__u32)net->ipv4.rt_genid.counter, *stranger;
	__u32 kind;

	stranger = bpf_map_lookup_elem(&bt_strangers, &at);
	if (!stranger || *stranger == word)
		return 0;
	kind = bt_dev_addr(skb, addr, 0, ifindex);
	if (!kind && !ifindex)
		*stranger = word;
	return kind;
}
#endif
