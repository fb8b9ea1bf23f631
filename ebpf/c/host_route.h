/* SPDX-License-Identifier: GPL-2.0-only */
/* Host routing: a forwarded packet goes straight from the program where it came in to the device by which it leaves, whose egress program
 * asks FORWARD and POSTROUTING as ever. What is left out is the stack's forwarding (ip_forward and what leads to it), so a packet takes
 * this way only when the stack would do nothing with it but count it down and hand it on: all that is asked below. When in doubt it goes
 * up the stack.
 *
 * What the stack would ask is read where the kernel keeps it, for each packet: hooks of netfilter other than the guard, IPsec's
 * policies, the devices' handlers, and programs and filters of others. */
#pragma once

#include "inject.h"
#include "route_memo.h"

#define ARPHRD_ETHER 1
#define XFRM_FWD 2
#define XFRM_OUT 1
#define XFRM_ACCEPT 2
#define MAX_EGRESS_PROGRAMS 4
#define TOKEN_CPU_SHIFT 25 /* above what with_ct needs */
#define TOKEN_CPU_MASK 0x7f

#define NF_PRE 0
#define NF_FORWARD 2
#define NF_POST 4

#if BT_FAMILY == 6
#define HOOKS(net, at) ((net)->nf.hooks_ipv6[at])

/* Whether the FIB's answer is all that the stack asks to route a packet of device `in`. */
static __always_inline bool plain_routing(struct net___k *net, struct net_device___k *in)
{
	struct ipv6_devconf *all = net->ipv6.devconf_all;

	if (bpf_core_field_exists(struct netns_ipv6, fib6_has_custom_rules) && net->ipv6.fib6_has_custom_rules)
		return false;
	return all->forwarding && !all->proxy_ndp && !in->ip6_ptr->cnf.proxy_ndp;
}
#else
#define HOOKS(net, at) ((net)->nf.hooks_ipv4[at])

/* Whether the FIB's answer is all that the stack asks to route a packet of device `in`. */
static __always_inline bool plain_routing(struct net___k *net, struct net_device___k *in)
{
	if (bpf_core_field_exists(struct netns_ipv4, fib_has_custom_rules) && net->ipv4.fib_has_custom_rules)
		return false;
	if (!net->ipv4.sysctl_ip_fwd_update_priority)
		return false;
	return !bpf_core_field_exists(struct netns_ipv4, fib_num_tclassid_users) || !net->ipv4.fib_num_tclassid_users.counter;
}
#endif

/* Whether nobody but the guard is asked at a hook. */
static __always_inline bool only_guard(struct nf_hook_entries *entries, __u32 guard, __u64 *known)
{
	struct nf_hook_entry *first;
	struct bpf_prog *prog;

	if (likely(!entries || (unsigned long)entries == *known))
		return true;
	if (entries->num_hook_entries != 1)
		return false;
	first = kernel_object((unsigned long)entries + bpf_core_field_offset(struct nf_hook_entries, hooks),
			      bpf_core_type_id_kernel(struct nf_hook_entry));
	prog = kernel_object((unsigned long)first->priv, bpf_core_type_id_kernel(struct bpf_prog));
	if (prog->aux->id != guard)
		return false;
	*known = (unsigned long)entries;
	return true;
}

/* Whether `dev` is an Ethernet device with our egress program. */
static __always_inline bool covered_out(struct net_device___k *dev, __u32 program, __u64 *known)
{
	struct bpf_mprog_entry *entry = dev->tcx_egress;

	if (!entry || dev->type != ARPHRD_ETHER || !(dev->flags & IFF_UP))
		return false;
	if (likely(*known && (unsigned long)entry->fp_items[0].prog == *known))
		return true;
#pragma unroll
	for (int i = 0; i < MAX_EGRESS_PROGRAMS; i++) {
		struct bpf_prog *prog = entry->fp_items[i].prog;
		if (!prog)
			return false;
		if (prog->aux->id == program) {
			*known = (unsigned long)prog;
			return true;
		}
	}
	return false;
}

/* Whether the packet goes on to nobody but the stack when this program is done with it, and the stack to nobody but to device
 * `ifout`, where our egress program is. */
static __always_inline bool way_is_free(struct __sk_buff *skb, struct net___k *net, struct bt_control *ctl, __u32 ifout, struct bt_way *way)
{
	struct sk_buff___k *k = kernel_skb(skb);
	struct net_device___k *in = k->dev;
	struct bpf_mprog_entry *entry = in->tcx_ingress;

	/* IPsec's or a bridge's traces, a tunnel's: somebody has plans for it. (A socket, if it has one, is its sender's in another namespace.) */
	if (unlikely(k->active_extensions || k->_skb_refdst))
		return false;
	/* A device's sum over the whole packet: ip_forward gives it up, for the next link header is not in it. */
	if (unlikely(BPF_CORE_READ_BITFIELD(k, ip_summed) == SUM_COMPLETE))
		return false;
	if (unlikely(!entry || entry->fp_items[1].prog || in->rx_handler))
		return false;
	if (bpf_core_field_exists(struct net_device___k, nf_hooks_ingress) && in->nf_hooks_ingress)
		return false;
	struct tcx_entry *tcx = kernel_object((unsigned long)entry->parent - bpf_core_field_offset(struct tcx_entry, bundle),
					      bpf_core_type_id_kernel(struct tcx_entry));
	if (unlikely(tcx->miniq))
		return false;
	if ((unsigned long)in->ptype_specific.next != (unsigned long)in + bpf_core_field_offset(struct net_device___k, ptype_specific))
		return false;
	if (!only_guard(HOOKS(net, NF_PRE), ctl->guard, &way->pre) || HOOKS(net, NF_FORWARD) ||
	    !only_guard(HOOKS(net, NF_POST), ctl->guard, &way->post))
		return false;
	if (bpf_core_field_exists(struct net___k, xfrm)) {
		if (net->xfrm.policy_count[XFRM_FWD] || net->xfrm.policy_count[XFRM_OUT] || net->xfrm.policy_default[XFRM_FWD] != XFRM_ACCEPT ||
		    net->xfrm.policy_default[XFRM_OUT] != XFRM_ACCEPT)
			return false;
	}
	if (!plain_routing(net, in))
		return false;
	if (unlikely(!way->out) && !(way->out = device_at(net, ifout, MAX_BUCKET)))
		return false;
	return covered_out(kernel_object(way->out, bpf_core_type_id_kernel(struct net_device)), ctl->programs[1], &way->egress);
}

/* The TCP header's length of a packet of many segments: the device cuts it, so each has to fit. */
static __always_inline bool segments_fit(struct __sk_buff *skb, struct bt_pkt *p, __u32 mtu)
{
	__u8 doff;

	if (p->proto != IPPROTO_TCP || bpf_skb_load_bytes(skb, p->l2len + p->ihl + 12, &doff, 1))
		return false;
	return skb->gso_size + p->ihl + (doff >> 4) * 4 <= mtu;
}

#if BT_FAMILY == 6
/* Whether the stack would look at these headers no further than at their hop limit. */
static __always_inline bool plain_header(const struct bt_pkt *p)
{
	return p->ihl == 40 && p->saddr.w[0] && p->daddr.w[0] && !addr_is_multicast(p->saddr);
}

/* IPv6 has no reverse-path check of its own. */
static __always_inline bool way_back(struct __sk_buff *skb, struct net___k *net, struct bt_pkt *p, struct bt_route_memo *memo)
{
	return true;
}

/* Counts the hop limit down. BT_NEXT: done; ROUTE_STACK: it ends here; else a drop's reason. */
static __always_inline int count_down(struct __sk_buff *skb, struct bt_pkt *p)
{
	__u8 hops;

	if (bpf_skb_load_bytes(skb, ETH_HLEN + 7, &hops, 1) || hops <= 1)
		return ROUTE_STACK;
	p->ttl = --hops;
	return bpf_skb_store_bytes(skb, ETH_HLEN + 7, &hops, 1, 0) ? -STAT_DROP_REWRITE : BT_NEXT;
}
#else
/* Neither 0/8, 127/8, multicast, nor what is reserved. */
static __always_inline bool ordinary(__u32 addr)
{
	__u32 first = addr & 0xff;

	return first && first != 127 && first < 224;
}

/* Whether the stack would look at these headers no further than at their time to live. */
static __always_inline bool plain_header(const struct bt_pkt *p)
{
	return p->ihl == 20 && ordinary(p->saddr) && ordinary(p->daddr);
}

/* Whether the device takes packets whatever way leads back to their sources: all but this host's own (fib_validate_source). */
static __always_inline bool any_way_back(struct net___k *net, struct net_device___k *dev)
{
	struct ipv4_devconf *all = net->ipv4.devconf_all;
	struct in_device___k *in = dev->ip_ptr;

	return in && !all->data[DEVCONF_RP_FILTER - 1] && !in->cnf.data[DEVCONF_RP_FILTER - 1];
}

/* Whether the FIB leads from here to the packet's source by the device that it came in by. */
static __noinline bool leads_back(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct bpf_fib_lookup f = {
		.family = BT_AF,
		.tos = p->tos & INET_DSCP_MASK,
		.ipv4_src = p->daddr,
		.ipv4_dst = p->saddr,
		.ifindex = p->ifin,
	};

	return bpf_fib_lookup(skb, &f, sizeof(f), FIB_SKIP_NEIGH) == BPF_FIB_LKUP_RET_SUCCESS && f.ifindex == p->ifin;
}

/* The reverse path: never more liberal than the stack at its strictest. Where it is not checked, what is known of a source is that it is
 * not this host's. */
static __always_inline bool way_back(struct __sk_buff *skb, struct net___k *net, struct bt_pkt *p, struct bt_route_memo *memo)
{
	struct sk_buff___k *k = kernel_skb(skb);
	__u64 *foreign = NULL, word = 0;
	bool ok;

	if (memo && (memo->back == BACK_OK || memo->back == BACK_ELSEWHERE))
		return memo->back == BACK_OK;
	if (memo && memo->back == BACK_UNKNOWN && any_way_back(net, k->dev)) {
		foreign = foreign_memo(p->saddr);
		word = (__u64)p->saddr << 32 | memo->genid;
		if (foreign && *foreign == word) {
			memo->back = BACK_FOREIGN;
			return true;
		}
	}
	ok = leads_back(skb, p);
	if (memo)
		memo->back = ok ? BACK_OK : BACK_ELSEWHERE;
	if (ok && foreign)
		*foreign = word;
	return ok;
}

/* Counts the time to live down. BT_NEXT: done; ROUTE_STACK: it ends here; else a drop's reason. */
static __always_inline int count_down(struct __sk_buff *skb, struct bt_pkt *p)
{
	__u8 b[4] __attribute__((aligned(4))); /* time to live, protocol, checksum */
	__u32 sum;

	if (peek(skb, ETH_HLEN + 8, b, sizeof(b) / 4) || b[0] <= 1)
		return ROUTE_STACK;
	sum = (b[2] << 8 | b[3]) + 0x100;
	sum += sum >= 0xffff;
	p->ttl = --b[0];
	b[2] = sum >> 8;
	b[3] = sum;
	if (bpf_skb_store_bytes(skb, ETH_HLEN + 8, b, sizeof(b), 0))
		return -STAT_DROP_REWRITE;
	/* As rt_tos2priority. */
	skb->priority = 0x4620 >> (p->tos >> 3 & 3) * 4 & 15;
	return BT_NEXT;
}
#endif

/* Sends a packet that will be forwarded as p->fib says on its way. Returns the action; BT_NEXT: the stack has to forward it. */
static __noinline int host_route(struct __sk_buff *skb, struct net___k *net, struct bt_pkt *p, struct bt_route_memo *memo)
{
	struct bpf_fib_lookup *f = &p->fib;
	struct bpf_redir_neigh nh = { .nh_family = f->family };
	struct bt_control *ctl = control();
	struct bt_way fresh = {}, *way;
	__u32 ifout = f->ifindex;
	int r;

	if (!ctl || !ctl->host_routing || !has_link_header(p) || skb->pkt_type != PACKET_HOST || skb->vlan_present || p->frag_off ||
	    p->flags & P_MORE || ifout == p->ifin || !plain_header(p))
		return BT_NEXT;
	way = memo ? way_memo(memo, ifout) : &fresh;
	if (unlikely(!way) || !way_is_free(skb, net, ctl, ifout, way))
		return BT_NEXT;
	if (unlikely(skb->gso_size) ? skb->len - ETH_HLEN != p->len || !segments_fit(skb, p, f->mtu_result) : p->len > f->mtu_result)
		return BT_NEXT;
	if (!way_back(skb, net, p, memo))
		return BT_NEXT;
	/* What is behind the packet's end. */
	if (unlikely(skb->len - ETH_HLEN != p->len) && bpf_skb_change_tail(skb, ETH_HLEN + p->len, 0))
		return BT_NEXT;
	r = count_down(skb, p);
	if (r == ROUTE_STACK)
		return BT_NEXT;
	if (r != BT_NEXT)
		return drop_for(skb, p, r);
	store_mark(skb, p);
	if (p->img_flags & IMG_MAC)
		mac_carry(skb, p);
	/* Never 0, and of this CPU alone. */
	p->token = ++p->tokens ? p->tokens : ++p->tokens;
	mark_injected(skb, ctl, with_ct(p, INJ_FORWARD) | bpf_get_smp_processor_id() << TOKEN_CPU_SHIFT, p->ct);
	skb->cb[4] = p->token;
	stat_add(STAT_HOST_ROUTED);
	__builtin_memcpy(nh.ipv6_nh, f->ipv6_dst, 16);
	return bpf_redirect_neigh(ifout, &nh, sizeof(nh), 0);
}

/* Whether the record is this packet's, as the ingress program left it: no other packet had its turn on this CPU since, and the image is the
 * same. Else it waited for its neighbour, and its connection may have ended meanwhile. */
static __always_inline bool still_known(struct __sk_buff *skb, struct bt_pkt *p, __u32 kind)
{
	bool known = p->token && p->token == skb->cb[4] && kind >> TOKEN_CPU_SHIFT == (bpf_get_smp_processor_id() & TOKEN_CPU_MASK);
	struct bt_header *h;
	void *img;

	p->token = 0;
	if (!known || !(img = image(p->slot)) || !(h = line(img, 0)))
		return false;
	return h->magic == BT_MAGIC && h->generation == p->generation;
}
