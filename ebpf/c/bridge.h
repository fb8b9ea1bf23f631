/* SPDX-License-Identifier: GPL-2.0-only */
/* Bridged packets: what a bridge hands from port to port, where br_netfilter shows it to netfilter's hooks.
 *
 *   a port's ingress: PREROUTING, with the bridge as the way in
 *   a port's egress:  FORWARD and POSTROUTING of what came in by another port, with the bridge as both ways
 *
 * bt_ports says which ports are concerned. What the bridge hands up to its own IP stack has br_netfilter's note of the port, and the bridge's
 * ingress program goes on with it behind PREROUTING, or asks that itself where the port has no program. What such a port's packets
 * are to be handed on to another port, the guard drops. (The note is gone at a port's egress.)
 *
 * A packet that got another destination is routed by br_netfilter. It does so when netfilter's hooks gave it the destination, which here
 * they did not; so the program gives the frame the link address of where its route leads: of a neighbour at the bridge, or of the bridge itself,
 * whose stack takes it from there. Where the neighbour's is not known, the packet waits for it at the bridge's egress and comes in by its port
 * a second time. */
#pragma once

#include "kernel_bridge.h"
#include "nat_dev.h"

/* The port that a packet came in by, if a bridge showed it to netfilter's hooks, as a port's program has asked PREROUTING then. */
static __noinline bool from_port(struct __sk_buff *skb)
{
	struct bt_bridge_info info = {};

	return bridge_info(skb, &info) && asking_port(info.physin);
}

static __always_inline bool asked_at_port(struct __sk_buff *skb)
{
	return shown_by_bridge(skb) && from_port(skb);
}

/* What the program at the port found. */
static __always_inline int resume_from_port(struct __sk_buff *skb, struct bt_pkt *p)
{
	if (notes(p))
		note_take(skb, p);
	return asks(p, IMG_CONNTRACK) ? bt_ct_resume(skb) : 0;
}

/* Of what a bridge hands up among others, br_netfilter has the connection confirmed before this host's rules are asked (br_nf_local_in). */
static __always_inline int confirm_copy(struct __sk_buff *skb, struct bt_pkt *p)
{
	return asks(p, IMG_CONNTRACK) && skb->pkt_type != PACKET_HOST ? bt_ct_confirm(skb) : 0;
}

/* Tells it to who goes on with the packet. */
static __always_inline void leave_port(struct __sk_buff *skb, struct bt_pkt *p)
{
	if (notes(p))
		note_carry(skb, p);
	if (asks(p, IMG_CONNTRACK))
		bt_ct_hint(skb);
}

#if BT_FAMILY == 6
static __always_inline bool source_is_valid(struct __sk_buff *skb, struct bt_pkt *p)
{
	return true;
}
#else
/* Whether the stack takes the packet's source from the bridge for sure (fib_validate_source). */
static __always_inline bool source_is_valid(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct net___k *net = net_of(skb);
	unsigned long bridge;

	if (!ordinary(p->saddr))
		return false;
	if (way_back(skb, net, p, NULL))
		return true;
	/* Of this host, or a broadcast address. */
	if (addr_type(p->saddr, 0) != 1)
		return false;
	bridge = device_at(net, p->ifin, MAX_DEV_BUCKET);
	return bridge && any_way_back(net, kernel_object(bridge, bpf_core_type_id_kernel(struct net_device)));
}
#endif

/* To the bridge's own stack. */
static __always_inline int to_bridge(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct net_device___k *dev = (void *)dev_of(skb, p->ifin);
	__u8 mac[8] = {};

	if (!dev || bpf_probe_read_kernel(mac, 6, BPF_CORE_READ(dev, dev_addr)) || bpf_skb_store_bytes(skb, 0, mac, 6, 0))
		return -STAT_DROP_REWRITE;
	return 0;
}

/* A packet whose destination PREROUTING changed. 0: it goes on into the bridge; a drop's reason; or BT_REDIRECT. */
static __noinline int port_moved(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl)
{
	struct bpf_fib_lookup *f = &p->fib, near = {};
	struct bt_hop hop = {};
	int r = fib(skb, p, p->ifin);

	if (r != BPF_FIB_LKUP_RET_SUCCESS || f->ifindex != p->ifin || f->family != BT_AF || !source_is_valid(skb, p))
		return to_bridge(skb, p);
	/* With the next hop as the destination the answer is its link address. */
	near.family = BT_AF;
	near.ifindex = p->ifin;
	near.tot_len = 1;
	__builtin_memcpy(near.ipv6_dst, f->ipv6_dst, 16);
	r = bpf_fib_lookup(skb, &near, sizeof(near), BPF_FIB_LOOKUP_OUTPUT);
	if (r == BPF_FIB_LKUP_RET_SUCCESS && near.ifindex == p->ifin)
		return bpf_skb_store_bytes(skb, 0, near.dmac, 6, 0) ? -STAT_DROP_REWRITE : 0;
#if BT_FAMILY == 6
	__builtin_memcpy(&hop.to, f->ipv6_dst, 16);
#else
	hop.to = f->ipv4_dst;
#endif
	store_mark(skb, p);
	mac_carry(skb, p);
	mark_injected(skb, ctl, with_ct(p, INJ_BRIDGED), p->ct);
	skb->cb[4] = skb->ifindex;
	return redirect_to(p->ifin, &hop);
}

/* At the bridge's egress: the packet that waited there for its neighbour's link address, which it bears now. */
static __noinline int back_to_port(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, __u32 kind, __u32 ct)
{
	__u32 port = skb->cb[4];
	__u64 mac;

	if (!begin(skb, p, ctl, ETH_HLEN, false))
		return BT_DROP;
	p->ct = ct;
	p->ctinfo = kind >> 8;
	p->ctdir = kind >> 16;
	p->traced = was_traced(kind);
	mac_take(skb, p);
	skb->tc_index = 0;
	mac = p->mac;
	if (bpf_skb_store_bytes(skb, 6, &mac, 6, 0))
		return drop_for(skb, p, -STAT_DROP_REWRITE);
	leave_port(skb, p);
	mark_injected(skb, ctl, INJ_DONE, 0);
	return bpf_redirect(port, BPF_F_INGRESS);
}

static __always_inline bool not_bridged(struct __sk_buff *skb)
{
	/* Tagged frames are shown to the hooks on demand only, which the guard does not let happen. */
	return skb->protocol != bpf_htons(BT_ETH_P) || skb->vlan_present;
}

/* The port that a program runs at, if it may have to ask rules of the packet there. */
static __always_inline struct bt_port *port_of(struct __sk_buff *skb, struct bt_control *ctl)
{
	__u32 ct = 0, dev = skb->ifindex;

	if (not_bridged(skb) || elsewhere(net_of(skb), ctl) || (take_injected(skb, ctl, &ct) & 0xff) == INJ_DONE)
		return NULL;
	return bpf_map_lookup_elem(&bt_ports, &dev);
}

/* As begin, with the port's bridge as the way in. */
static __always_inline bool begin_at(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, const struct bt_port *port, bool ingress)
{
	if (!begin(skb, p, ctl, ETH_HLEN, ingress))
		return false;
	see_in(skb, p, port->bridge);
	if (p->img_flags & IMG_GROUPS)
		group_note_of(skb, p->ifin);
	return true;
}

static __always_inline int port_ingress(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_control *ctl = control();
	struct bt_port *port;
	int a, r;

	if (!p || !ctl || skb->pkt_type == PACKET_LOOPBACK)
		return BT_NEXT;
	port = port_of(skb, ctl);
	if (!port || !begin_at(skb, p, ctl, port, true))
		return BT_NEXT;
	p->hook = H_PRE;
	if (asks(p, IMG_WHOLE) && (r = bt_frag(skb)))
		return drop_for(skb, p, r);
	bt_addr daddr = p->daddr;
	if ((a = prerouting(skb, p, false)) != BT_NEXT)
		return a;
	if (!addr_eq(p->daddr, daddr)) {
		if (!unwrapped(skb) && (ipsec_stops(skb, IPSEC_FWD, &p->saddr, &daddr, p->mark) || ipsec_stops(skb, IPSEC_IN, &p->saddr, &daddr, p->mark)))
			return drop_for(skb, p, -STAT_DROP_IPSEC);
		r = port_moved(skb, p, ctl);
		if (r == BT_REDIRECT)
			return r;
		if (r)
			return drop_for(skb, p, r);
	}
	leave_port(skb, p);
	store_mark(skb, p);
	return BT_NEXT;
}

/* Whether a bridge hands the packet on that came in by another of its ports, or by this one. What this host sends, or routes, has a route
 * here; what came in by a port and was handed up has come in by the bridge since. */
static __always_inline bool bridged_here(struct __sk_buff *skb, const struct bt_port *out)
{
	struct sk_buff___k *k = kernel_skb(skb);
	__u32 in = skb->ingress_ifindex;
	struct bt_port *port;

	if (!in || k->_skb_refdst & SKB_DST_PTRMASK)
		return false;
	port = bpf_map_lookup_elem(&bt_ports, &in);
	return port && port->bridge == out->bridge;
}

/* Whether others have a part in the packet's data: copies that go to other ports and to the host, or its sender, who may have to send it again. */
static __always_inline bool data_shared(struct __sk_buff *skb)
{
	struct sk_buff___data *k = kernel_skb(skb);
	struct skb_shared_info *info = kernel_object((unsigned long)k->head + k->end, bpf_core_type_id_kernel(struct skb_shared_info));

	return (info->dataref.counter & SKB_DATAREF_MASK) != 1;
}

static __always_inline int port_egress(struct __sk_buff *skb)
{
	struct bt_pkt *p = pkt();
	struct bt_control *ctl = control();
	struct bt_port *port;
	int a, r;

	if (!p || !ctl)
		return BT_NEXT;
	port = port_of(skb, ctl);
	if (!port || !bridged_here(skb, port) || !begin_at(skb, p, ctl, port, false))
		return BT_NEXT;
	p->ifout = p->ifin;
	p->class_out = p->class_in;
	p->copied = data_shared(skb);
	p->hook = H_FWD;
	if (asks(p, IMG_WHOLE) && (r = bt_frag(skb)))
		return drop_for(skb, p, r);
	if ((r = resume_from_port(skb, p)))
		return drop_for(skb, p, r);
	if (p->img_flags & IMG_MAC) {
		/* The link header is the one that it came with. */
		p->mac = 0;
		p->mac_known = !bpf_skb_load_bytes(skb, 6, &p->mac, 6);
	}
	if ((a = forward(skb, p)) != BT_NEXT)
		return a;
	/* br_netfilter names no way in there. */
	p->ifin = p->class_in = 0;
	if ((a = run_table(skb, p, H_POST, T_MANGLE)) != BT_NEXT || (a = run_nat(skb, p, H_POST, MANIP_SRC)) != BT_NEXT)
		return a;
	if (asks(p, IMG_CONNTRACK) && (r = bt_ct_confirm(skb)))
		return drop_for(skb, p, r);
	store_mark(skb, p);
	return BT_NEXT;
}
