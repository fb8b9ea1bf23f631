/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's network namespaces and devices, as far as the programs read them. */
#pragma once

#include "kernel.h"
#include "kernel_tcx.h"

struct list_head {
	struct list_head *next;
} __attribute__((preserve_access_index));
struct hlist_node {
	struct hlist_node *next;
} __attribute__((preserve_access_index));
struct hlist_head {
	struct hlist_node *first;
} __attribute__((preserve_access_index));
struct mini_Qdisc;
struct rb_node;
struct rb_root {
	struct rb_node *rb_node;
} __attribute__((preserve_access_index));
struct netns_nexthop {
	struct rb_root rb_root;
} __attribute__((preserve_access_index));
struct fib_info {
	int fib_nhs;
} __attribute__((preserve_access_index));
struct fib_nh {
	struct hlist_node nh_hash;
	struct fib_info *nh_parent;
} __attribute__((preserve_access_index));
struct bpf_mprog_bundle {
	struct bpf_mprog_entry a;
} __attribute__((preserve_access_index));
struct tcx_entry {
	struct mini_Qdisc *miniq;
	struct bpf_mprog_bundle bundle;
} __attribute__((preserve_access_index));
struct nf_hook_entry {
	void *priv;
} __attribute__((preserve_access_index));
struct nf_hook_entries {
	__u16 num_hook_entries;
	struct nf_hook_entry hooks[];
} __attribute__((preserve_access_index));
struct netns_nf {
	struct nf_hook_entries *hooks_ipv4[5];
	struct nf_hook_entries *hooks_ipv6[5];
} __attribute__((preserve_access_index));
struct netns_xfrm {
	struct list_head policy_all;
	unsigned int policy_count[6];
	__u8 policy_default[3];
} __attribute__((preserve_access_index));
struct atomic___k {
	int counter;
} __attribute__((preserve_access_index));
#define DEVCONF_RP_FILTER 8 /* IPV4_DEVCONF_RP_FILTER */

struct ipv4_devconf {
	int data[32];
} __attribute__((preserve_access_index));
#define IFF_UP 1

struct in_device___k {
	struct ipv4_devconf cnf;
} __attribute__((preserve_access_index));
struct netns_ipv4 {
	struct ipv4_devconf *devconf_all;
	bool fib_has_custom_rules;
	struct atomic___k fib_num_tclassid_users, rt_genid;
	__u8 sysctl_ip_fwd_update_priority, sysctl_fib_multipath_hash_policy;
} __attribute__((preserve_access_index));
struct ipv6_devconf {
	__s32 forwarding, proxy_ndp;
} __attribute__((preserve_access_index));
struct inet6_dev___k {
	struct ipv6_devconf cnf;
} __attribute__((preserve_access_index));
struct netns_ipv6 {
	struct ipv6_devconf *devconf_all;
	bool fib6_has_custom_rules;
	struct hlist_head *inet6_addr_lst;
} __attribute__((preserve_access_index));
struct net___k {
	__u64 net_cookie;
	__u32 hash_mix;
	struct hlist_head *dev_index_head;
	struct netns_ipv4 ipv4;
	struct netns_ipv6 ipv6;
	struct netns_nf nf;
	struct netns_xfrm xfrm;
	struct netns_nexthop nexthop;
} __attribute__((preserve_access_index));
typedef struct {
	struct net___k *net;
} __attribute__((preserve_access_index)) possible_net_t___k;
struct netdev_adjacent {
	struct net_device___k *dev;
	struct list_head list;
} __attribute__((preserve_access_index));
struct net_device_adjacency {
	struct list_head upper;
} __attribute__((preserve_access_index));
enum netdev_priv_flags { IFF_L3MDEV_MASTER = 1, IFF_L3MDEV_SLAVE = 2 };
struct net_device___k {
	unsigned long priv_flags : 32;
	struct net_device_adjacency adj_list;
	int ifindex;
	unsigned int flags;
	unsigned short type;
	const unsigned char *dev_addr;
	void *rx_handler;
	struct list_head ptype_specific;
	struct hlist_node index_hlist;
	struct bpf_mprog_entry *tcx_ingress, *tcx_egress;
	struct nf_hook_entries *nf_hooks_ingress;
	struct in_device___k *ip_ptr;
	struct inet6_dev___k *ip6_ptr;
	struct hlist_head fib_nh_head;
	possible_net_t___k nd_net;
} __attribute__((preserve_access_index));
struct sk_buff___k {
	struct net_device___k *dev;
	unsigned long _skb_refdst;
	__u8 active_extensions;
	__u16 mac_len;
	__u8 ip_summed : 2;
} __attribute__((preserve_access_index));

/* The network namespace that a packet is in. */
static __always_inline struct net___k *net_of(struct __sk_buff *skb)
{
	struct sk_buff___k *k = kernel_skb(skb);

	return k->dev->nd_net.net;
}

/* Whether a packet's namespace is another than these programs' own: a device that was moved takes its programs along, and the rules of
 * where it was are none of where it is. Netfilter asks the hooks of the device's namespace. */
static __always_inline bool elsewhere(struct net___k *net, struct bt_control *ctl)
{
	return net->net_cookie != ctl->netns;
}

/* Whether it is a VRF or a VRF's member. */
static __always_inline bool has_vrf(struct net_device___k *dev)
{
	return BPF_CORE_READ_BITFIELD(dev, priv_flags) & (bpf_core_enum_value(enum netdev_priv_flags, IFF_L3MDEV_MASTER) |
							  bpf_core_enum_value(enum netdev_priv_flags, IFF_L3MDEV_SLAVE));
}

/* The VRF of the device at `at`, which it may be itself; 0: none. A device's master is the first of its upper devices. */
static __always_inline __u32 vrf_of_inline(unsigned long at)
{
	struct net_device___k *dev = kernel_object(at, bpf_core_type_id_kernel(struct net_device));

	if (!has_vrf(dev))
		return 0;
	if (BPF_CORE_READ_BITFIELD(dev, priv_flags) & bpf_core_enum_value(enum netdev_priv_flags, IFF_L3MDEV_MASTER))
		return dev->ifindex;
	unsigned long node = (unsigned long)dev->adj_list.upper.next;
	/* The flag comes before the link, and goes after it (do_vrf_add_slave). */
	if (unlikely(node == at + bpf_core_field_offset(struct net_device___k, adj_list.upper)))
		return 0;
	node -= bpf_core_field_offset(struct netdev_adjacent, list);
	struct netdev_adjacent *adjacent = kernel_object(node, bpf_core_type_id_kernel(struct netdev_adjacent));
	return adjacent->dev->ifindex;
}

static __noinline __u32 vrf_of(unsigned long at)
{
	return vrf_of_inline(at);
}

#define DEVICE_BUCKETS 256 /* of the kernel's table of devices by index */

/* Address of the device with this index; 0: not among the first `most` of its bucket. */
static __always_inline unsigned long device_at(struct net___k *net, __u32 ifindex, __u32 most)
{
	struct hlist_head *head = kernel_object((unsigned long)net->dev_index_head + (ifindex & (DEVICE_BUCKETS - 1)) * sizeof(void *),
						bpf_core_type_id_kernel(struct hlist_head));
	unsigned long node = (unsigned long)head->first;

	for (__u32 i = 0; i < most && node; i++) {
		unsigned long at = node - bpf_core_field_offset(struct net_device___k, index_hlist);
		struct net_device___k *dev = kernel_object(at, bpf_core_type_id_kernel(struct net_device));
		if (dev->ifindex == ifindex)
			return at;
		node = (unsigned long)dev->index_hlist.next;
	}
	return 0;
}
