// SPDX-License-Identifier: GPL-2.0-only
/* The guard, at PREROUTING and POSTROUTING of netfilter: what uses a device that has no program of this namespace's goes no further,
 * unless the rules are none but ACCEPT policies. At INPUT: nor does what the programs took for another host's, as its route was then, and
 * did not ask INPUT's rules about. And the survey of links, by which namespaces are found that nobody uses any more.
 *
 * Whether a device has a program is read from the device itself, so no list can be stale: not when a number is used again, not when a
 * device comes from another namespace with the programs of that one. At PREROUTING this does not suffice: a packet may have passed the
 * ingress hook before the program was there and arrive here after. The kernel waits for such packets before it gives the link to
 * whoever attached it; bt_covered is set after that. At POSTROUTING the egress hook is still to come.
 *
 * What a bridge shows to these hooks and hands from port to port has to have met the program of the port that it came by, told that the bridge
 * shows it, and to meet that of the port that it leaves by. What it hands up may have come by a port without programs: the bridge's
 * own asks the rules then.
 *
 * What IPsec unwraps or will wrap may pass no device as it is: it goes no further where rules would have been asked. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "abi.h"
#include "guard_maps.h"
#include "kernel_ipsec.h"
#include "kernel_tcx.h"

#define NF_DROP 0
#define NF_ACCEPT 1
#define NF_INET_PRE_ROUTING 0
#define NF_INET_LOCAL_IN 1
#define NFPROTO_IPV6 10
/* Programs of others that may run before ours. */
#define MAX_BEFORE 8

/* Linux before 6.18, and from it on. */
struct ns_common___old {
	struct {
		struct {
			int counter;
		} refs;
	} count;
} __attribute__((preserve_access_index));
struct ns_common___new {
	struct {
		struct {
			int counter;
		} refs;
	} __ns_ref;
} __attribute__((preserve_access_index));
struct ns_common {
	unsigned int inum;
} __attribute__((preserve_access_index));
struct net {
	struct ns_common ns;
	__u64 net_cookie;
} __attribute__((preserve_access_index));
typedef struct {
	struct net *net;
} __attribute__((preserve_access_index)) possible_net_t;
enum netdev_priv_flags { IFF_L3MDEV_MASTER = 1, IFF_L3MDEV_SLAVE = 2 };
struct list_head {
	struct list_head *next;
} __attribute__((preserve_access_index));
struct net_device;
struct netdev_adjacent {
	struct net_device *dev;
	struct list_head list;
} __attribute__((preserve_access_index));
struct net_device_adjacency {
	struct list_head upper;
} __attribute__((preserve_access_index));
struct net_device {
	unsigned long priv_flags : 32;
	struct net_device_adjacency adj_list;
	int ifindex;
	unsigned int flags;
	possible_net_t nd_net;
	struct bpf_mprog_entry *tcx_ingress, *tcx_egress;
} __attribute__((preserve_access_index));
struct nf_hook_state {
	__u8 hook, pf;
	struct net_device *in, *out;
} __attribute__((preserve_access_index));
struct xfrm_state {
	__u32 if_id;
} __attribute__((preserve_access_index));
struct dst_entry {
	struct net_device *dev;
	struct xfrm_state *xfrm;
} __attribute__((preserve_access_index));
/* Begins with a dst_entry. */
struct xfrm_dst {
	struct dst_entry *route;
} __attribute__((preserve_access_index));
struct sk_buff {
	__u32 vlan_all;
	int skb_iif;
	unsigned long _skb_refdst;
	__u8 active_extensions;
	__u16 network_header, mac_header, mac_len, tc_index;
	unsigned char *head;
} __attribute__((preserve_access_index));
/* The verifier knows the context's members by offset. */
struct bpf_nf_ctx {
	struct nf_hook_state *state;
	struct sk_buff *skb;
};

/* Maps of the tcx programs; the loader puts the pinned ones here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_control);
} bt_control SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, BT_IMAGE_SLOTS);
	__uint(key_size, 4);
	__uint(value_size, 4);
} bt_images SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STAT_COUNT);
	__type(key, __u32);
	__type(value, __u64);
} bt_stats SEC(".maps");

char _license[] SEC("license") = "GPL";

/* Times that the guard looks again when commits overtake it. */
#define MAX_LOOKS 8

/* What the live image asks for of IMG_GUARD, IMG_GUARD_LOOPBACK and IMG_NO_VRF. Unlike a program at tcx this one may be preempted, so its image may be written anew
 * while it looks: what it read counts if the slot is the live one still. */
static __always_inline __u32 armed(struct bt_control *ctl, __u8 pf)
{
	__u32 zero = 0, slot, flags, i;
	volatile __u32 *live = pf == NFPROTO_IPV6 ? &ctl->slot6 : &ctl->slot4;
#pragma unroll
	for (i = 0; i < MAX_LOOKS; i++) {
		slot = *live;
		void *img = bpf_map_lookup_elem(&bt_images, &slot);
		if (!img)
			return 0;
		struct bt_header *h = bpf_map_lookup_elem(img, &zero);
		if (!h)
			return 0;
		flags = *(volatile __u32 *)&h->flags;
		if (*live == slot)
			return flags & (IMG_GUARD | IMG_GUARD_LOOPBACK | IMG_NO_VRF);
	}
	return IMG_GUARD | IMG_NO_VRF;
}

#define BASE(hook, table) (1u << ((hook) * BT_TABLES + (table)))
#define ALL_OF(hook) (((1u << BT_TABLES) - 1) << (hook) * BT_TABLES)

/* Whether one of these base chains has a rule, or a policy other than ACCEPT. */
static __always_inline bool chains_ask(void *img, __u32 chains)
{
	__u32 at, line;

#pragma nounroll
	for (at = 0; at < 5 * BT_TABLES; at++) {
		if (!(chains >> at & 1))
			continue;
		line = BT_BASES_LINE + at / 16;
		struct bt_line *l = bpf_map_lookup_elem(img, &line);
		if (!l)
			return true;
		line = l->w[at & 15];
		struct bt_chain *c = bpf_map_lookup_elem(img, &line);
		if (!c || c->nrules || c->next || c->policy == POLICY_DROP)
			return true;
	}
	return false;
}

/* Whether the live image asks packets anything in these base chains; or, if `tracked`, wants to know their connections. In doubt it does. */
static __always_inline bool rules_ask(struct bt_control *ctl, __u8 pf, __u32 chains, bool tracked)
{
	volatile __u32 *live = pf == NFPROTO_IPV6 ? &ctl->slot6 : &ctl->slot4;
	__u32 zero = 0, slot = *live;
	void *img = bpf_map_lookup_elem(&bt_images, &slot);
	struct bt_header *h = img ? bpf_map_lookup_elem(img, &zero) : NULL;

	if (!h || (tracked && *(volatile __u32 *)&h->flags & IMG_CONNTRACK) || chains_ask(img, chains & *(volatile __u32 *)&h->present))
		return true;
	return *live != slot;
}

/* At PREROUTING: what IPsec unwraps in transport mode is handed to this hook by IPsec itself, behind the ingress programs. It takes the
 * header off from between the link header and what was inside, so the link header is no longer where the device's ended. (In tunnel mode, and
 * where GRO unwraps, the packet comes in by its device once more.) */
static __always_inline bool unwrapped_behind(struct sk_buff *skb)
{
	return was_unwrapped(skb->active_extensions) && (__u16)(skb->network_header - skb->mac_header) != skb->mac_len;
}

/* At POSTROUTING: IPsec will wrap the packet, so the egress programs will see nothing but what is around it. What an xfrm or VTI device
 * hands to IPsec met the rules at that device; netfilter asks mangle a second time. An xfrm device is told by its number; a VTI, by its taking
 * the packet for the device of the way out, which its route did not lead to. */
static __always_inline bool wrapped_before(struct bt_control *ctl, struct nf_hook_state *state, struct sk_buff *skb)
{
	struct dst_entry *dst = (void *)(skb->_skb_refdst & ~1ul);
	struct xfrm_state *x;

	if (!bpf_core_field_exists(struct dst_entry, xfrm) || !dst)
		return false;
	x = BPF_CORE_READ(dst, xfrm);
	if (!x)
		return false;
	if (BPF_CORE_READ(x, if_id) ||
	    (state->in == state->out && !skb->skb_iif && BPF_CORE_READ((struct xfrm_dst *)dst, route, dev) != state->out))
		return rules_ask(ctl, state->pf, BASE(H_POST, T_MANGLE), false);
	return rules_ask(ctl, state->pf, ALL_OF(H_FWD) | ALL_OF(H_OUT) | ALL_OF(H_POST), true);
}

/* Whether an address of the packet is one of loopback's, or may be. */
static __always_inline bool of_loopback(struct sk_buff *skb, __u8 pf)
{
	void *at = (void *)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	__u64 ip6[4];
	__u8 ip4[8];

	if (pf != NFPROTO_IPV6)
		return bpf_probe_read_kernel(ip4, sizeof(ip4), at + 12) || ip4[0] == 127 || ip4[4] == 127;
	return bpf_probe_read_kernel(ip6, sizeof(ip6), at + 8) || (!ip6[0] && ip6[1] == bpf_cpu_to_be64(1)) ||
	       (!ip6[2] && ip6[3] == bpf_cpu_to_be64(1));
}

/* Whether a program is one of this namespace's for this direction and kind of device. While programs are replaced, the map has those of both
 * versions. */
static __always_inline bool is_ours(struct bt_control *ctl, bool pre, __u32 kind, __u32 id)
{
	__u32 *known;

	if (kind == GUARDED_PORT ? id == ctl->programs[pre ? 4 : 5] : id == ctl->programs[pre ? 0 : 1] || id == ctl->programs[pre ? 2 : 3])
		return true;
	known = bpf_map_lookup_elem(&bt_guard_progs, &id);
	return known && *known == kind;
}

/* Whether one of this namespace's programs is in a device's list. */
static __always_inline bool has_ours(struct bt_control *ctl, unsigned long entry, bool pre, __u32 kind)
{
	struct bpf_mprog_entry *list = (void *)entry;
	struct bpf_prog *prog;
	__u32 i;

	if (!list)
		return false;
#pragma unroll
	for (i = 0; i < MAX_BEFORE; i++) {
		prog = BPF_CORE_READ(list, fp_items[i].prog);
		if (!prog)
			return false;
		if (is_ours(ctl, pre, kind, BPF_CORE_READ(prog, aux, id)))
			return true;
	}
	return false;
}

#define DEVICE_BUCKETS 256
#define MAX_BUCKET 64 /* devices looked at to find one by its index */

struct hlist_node {
	struct hlist_node *next;
} __attribute__((preserve_access_index));
struct hlist_head___k {
	struct hlist_node *first;
} __attribute__((preserve_access_index));
struct net___devices {
	struct hlist_head___k *dev_index_head;
} __attribute__((preserve_access_index));
struct net_device___hashed {
	int ifindex;
	struct hlist_node index_hlist;
	struct bpf_mprog_entry *tcx_ingress;
} __attribute__((preserve_access_index));

/* The ingress programs of the device with this index in the namespace of `beside`. */
static __always_inline unsigned long ingress_of(struct net_device *beside, __u32 ifindex)
{
	struct net___devices *net = (void *)BPF_CORE_READ(beside, nd_net.net);
	unsigned long at = (unsigned long)BPF_CORE_READ(net, dev_index_head) + (ifindex & (DEVICE_BUCKETS - 1)) * sizeof(void *);
	struct hlist_node *node = NULL;

	if (bpf_probe_read_kernel(&node, sizeof(node), (void *)at))
		return 0;
#pragma nounroll
	for (__u32 i = 0; i < MAX_BUCKET && node; i++) {
		struct net_device___hashed *dev = (void *)node - bpf_core_field_offset(struct net_device___hashed, index_hlist);
		if (BPF_CORE_READ(dev, ifindex) == ifindex)
			return (unsigned long)BPF_CORE_READ(dev, tcx_ingress);
		node = BPF_CORE_READ(node, next);
	}
	return 0;
}

/* Whether the frame has a tag that its device took off it. */
static __always_inline bool tagged(struct sk_buff *skb)
{
	return skb->vlan_all;
}

/* Whether what came by a port may go on at PREROUTING. Where the port has no program, the bridge's asks PREROUTING of what is handed up to it; what is handed
 * on to another port is dropped behind. A port whose program does not count yet, or not any more, is closed. */
static __always_inline bool port_passes(struct bt_control *ctl, struct net_device *bridge, __u32 physin)
{
	unsigned long entry = ingress_of(bridge, physin);
	bool ours = has_ours(ctl, entry, true, GUARDED_PORT);
	struct bt_port *port = asking_port(physin);

	if (port)
		return ours && port->bridge == bridge->ifindex;
	return !ours && !has_ours(ctl, entry, true, GUARDED_DEVICE);
}

/* Whether what goes from port to port met the program where it came in, and meets that where it leaves. */
static __always_inline bool ports_covered(struct bt_control *ctl, struct net_device *bridge, __u32 physin, unsigned long physout)
{
	struct net_device *out = (void *)physout;
	struct bt_port *port = asking_port(physin);

	return port && port->bridge == bridge->ifindex && has_ours(ctl, ingress_of(bridge, physin), true, GUARDED_PORT) &&
	       has_ours(ctl, (unsigned long)BPF_CORE_READ(out, tcx_egress), false, GUARDED_PORT);
}

static __always_inline bool is_vrf(struct net_device *dev)
{
	return BPF_CORE_READ_BITFIELD(dev, priv_flags) & bpf_core_enum_value(enum netdev_priv_flags, IFF_L3MDEV_MASTER);
}

/* Whether a VRF is in the way. Where no rule asks what is not known of its packets, those of a member go on as the VRF's, whose name its
 * programs have to know: once it has programs of its own. Most come to this hook a second time, as the VRF's; packets of groups and of
 * IPv6's links do not. */
static __always_inline bool vrf_closed(struct bt_control *ctl, bool pre, __u32 flags, struct net_device *dev)
{
	bool member = BPF_CORE_READ_BITFIELD(dev, priv_flags) & bpf_core_enum_value(enum netdev_priv_flags, IFF_L3MDEV_SLAVE);
	__u32 ifindex;

	if (flags & IMG_NO_VRF)
		return member || is_vrf(dev);
	if (!pre || !member)
		return false;
	unsigned long upper = (unsigned long)BPF_CORE_READ(dev, adj_list.upper.next) - bpf_core_field_offset(struct netdev_adjacent, list);
	struct net_device *vrf = BPF_CORE_READ((struct netdev_adjacent *)upper, dev);
	ifindex = BPF_CORE_READ(vrf, ifindex);
	return !bpf_map_lookup_elem(&bt_covered, &ifindex) ||
	       !has_ours(ctl, (unsigned long)BPF_CORE_READ(vrf, tcx_ingress), true, GUARDED_DEVICE);
}

/* At INPUT: the ingress programs did not ask INPUT's rules, since the packet's route led elsewhere then. */
static __always_inline bool unasked(struct bt_control *ctl, struct sk_buff *skb, __u8 pf)
{
	return bpf_core_field_exists(skb->tc_index) && is_elsewhere(skb->tc_index) && rules_ask(ctl, pf, ALL_OF(H_IN), false);
}

/* Loaded as BPF_PROG_TYPE_NETFILTER; the section's name only has to be one that the ELF reader knows. */
SEC("classifier")
int bt_guard(struct bpf_nf_ctx *ctx)
{
	struct nf_hook_state *state = ctx->state;
	bool pre = state->hook == NF_INET_PRE_ROUTING;
	struct net_device *dev = pre ? state->in : state->out;
	struct bt_bridge_info info = {};
	struct sk_buff *skb = ctx->skb;
	struct bpf_mprog_entry *entry;
	struct bpf_prog *prog;
	struct bpf_prog_aux *aux;
	__u32 ifindex, id, i, armed_for, zero = 0, stat = STAT_DROP_UNCOVERED;
	struct bt_control *ctl = bpf_map_lookup_elem(&bt_control, &zero);
	__u64 *n;

	if (!ctl)
		return NF_ACCEPT;
	if (state->hook == NF_INET_LOCAL_IN) {
		if (!unasked(ctl, skb, state->pf))
			return NF_ACCEPT;
		stat = STAT_DROP_UNASKED;
		goto drop;
	}
	if (!dev)
		return NF_ACCEPT;
	armed_for = armed(ctl, state->pf);
	if (!(armed_for & IMG_GUARD) && !(armed_for & IMG_GUARD_LOOPBACK && of_loopback(skb, state->pf)))
		return NF_ACCEPT;
	if (vrf_closed(ctl, pre, armed_for, dev))
		goto drop;
	if (pre ? unwrapped_behind(skb) && rules_ask(ctl, state->pf, ALL_OF(H_PRE) | ALL_OF(H_IN) | ALL_OF(H_FWD), true) :
		  wrapped_before(ctl, state, skb)) {
		stat = STAT_DROP_IPSEC;
		goto drop;
	}
	ifindex = dev->ifindex;
	/* (What came by a VRF's bridge was asked there, before it comes as the VRF's.) */
	if (has_bridge_info(skb->active_extensions) && !is_vrf(dev)) {
		if (!bridge_info(skb, &info))
			goto drop;
		if (pre || info.physout) {
			/* What a tag or PPPoE wraps meets no program. */
			if (info.orig_proto || tagged(skb))
				goto drop;
			if (!(pre ? port_passes(ctl, dev, info.physin) : ports_covered(ctl, dev, info.physin, info.physout)))
				goto drop;
			if (!pre)
				return NF_ACCEPT;
		}
	}
	entry = pre ? dev->tcx_ingress : dev->tcx_egress;
	if (!entry)
		goto drop;
#pragma unroll
	for (i = 0; i < MAX_BEFORE; i++) {
		prog = entry->fp_items[i].prog;
		if (!prog)
			break;
		aux = prog->aux;
		if (!aux)
			break;
		id = aux->id;
		if (!is_ours(ctl, pre, GUARDED_DEVICE, id))
			continue;
		if (!pre || bpf_map_lookup_elem(&bt_covered, &ifindex))
			return NF_ACCEPT;
		break;
	}
drop:
	n = bpf_map_lookup_elem(&bt_stats, &stat);
	if (n)
		*n += 1;
	return NF_DROP;
}

#define LINK_TYPE_NETFILTER 10
#define LINK_TYPE_TCX 11
#define IFF_LOOPBACK 8

struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));
struct bpf_link {
	__u32 id;
	enum bpf_link_type type;
} __attribute__((preserve_access_index));
struct tcx_link {
	struct net_device *dev;
} __attribute__((preserve_access_index));
struct bpf_nf_link {
	struct net *net;
	__u32 dead;
} __attribute__((preserve_access_index));
struct survey_ctx {
	struct bpf_iter_meta *meta;
	struct bpf_link *link;
};

static __always_inline int references(struct net *net)
{
	struct ns_common *ns = (void *)net + bpf_core_field_offset(struct net, ns);

	if (bpf_core_field_exists(struct ns_common___new, __ns_ref))
		return BPF_CORE_READ((struct ns_common___new *)ns, __ns_ref.refs.counter);
	return BPF_CORE_READ((struct ns_common___old *)ns, count.refs.counter);
}

/* Loaded as BPF_PROG_TYPE_TRACING at bpf_iter_bpf_link: one record for each link at `lo` or at a netfilter hook, of anybody. */
SEC("classifier")
int bt_survey(struct survey_ctx *ctx)
{
	struct bpf_iter_meta *meta = ctx->meta;
	struct bpf_link *link = ctx->link;
	struct bt_survey record = {};
	struct net *net;

	if (!meta || !link)
		return 0;
	record.link = link->id;
	record.kind = link->type;
	if (record.kind == LINK_TYPE_NETFILTER) {
		struct bpf_nf_link *nf = (void *)link;
		if (BPF_CORE_READ(nf, dead))
			return 0;
		net = BPF_CORE_READ(nf, net);
	} else if (record.kind == LINK_TYPE_TCX) {
		struct net_device *dev = BPF_CORE_READ((struct tcx_link *)link, dev);
		if (!dev || !(BPF_CORE_READ(dev, flags) & IFF_LOOPBACK))
			return 0;
		net = BPF_CORE_READ(dev, nd_net.net);
	} else {
		return 0;
	}
	record.cookie = BPF_CORE_READ(net, net_cookie);
	record.inode = BPF_CORE_READ(net, ns.inum);
	record.references = references(net);
	bpf_seq_write(meta->seq, &record, sizeof(record));
	return 0;
}
