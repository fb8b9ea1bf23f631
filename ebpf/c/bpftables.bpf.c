// SPDX-License-Identifier: GPL-2.0-only
/* The programs: tcx ingress and egress of every layer-3 device of a namespace and of bridges' ports (bridge.h), and what hooks run where.
 *
 *   ingress: PREROUTING raw, conntrack, mangle, nat (destination); if the route is local: INPUT mangle, filter, security, nat (source)
 *   egress:  of a forwarded packet: FORWARD mangle, filter, security; of ours: OUTPUT raw, conntrack, mangle, nat (destination),
 *            filter, security; then of both: POSTROUTING mangle, nat (source)
 *
 * What may pass returns TCX_NEXT, so programs of others run as if these were not there. */
#include "bt.h"
#include "guard_maps.h"
#include "log.h"
#include "inject.h"
#include "route_memo.h"
#include "parse.h"
#include "ct.h"
#include "frag.h"
#include "nat.h"
#include "ops.h"
#include "reject.h"
#include "mtu.h"
#include "ipsec.h"
#include "classify.h"
#include "set_probe.h"
#if BT_FAMILY == 6
#include "fib6.h"
#else
#include "fib4.h"
#endif
#include "tables.h"

char _license[] SEC("license") = "GPL";

/* Takes the snapshot this packet will see and reads its headers. False: not ours to judge. */
static __always_inline bool begin(struct __sk_buff *skb, struct bt_pkt *p, struct bt_control *ctl, __u32 l2len, bool received)
{
	p->token = 0;
	p->slot = BT_FAMILY == 6 ? ctl->slot6 : ctl->slot4;
	find_vrf(skb, p, ctl);
	void *img = image(p->slot);
	if (unlikely(!img))
		return false;
	struct bt_header *h = line(img, 0);
	if (unlikely(!h || h->magic != BT_MAGIC || h->abi != BT_ABI_VERSION))
		return false;
	p->generation = h->generation;
	p->img_flags = h->flags;
	p->present = h->present;
	if (!parse(skb, p, l2len, received))
		return false;
	p->bare = p->copied = 0;
	p->cpu_base = bpf_get_smp_processor_id() * BT_COUNTER_CHUNK;
	p->mark = skb->mark;
	p->ct = 0;
	p->ctinfo = CI_NONE;
	p->ctdir = DIR_ORIG;
	p->track = 0;
	p->traced = p->noted = 0;
	p->assigned = 0;
	p->answer = ANSWER_NONE;
	p->ifin = p->ifout = 0;
	p->class_in = p->class_out = 0;
	return true;
}

static __always_inline bool skip(struct __sk_buff *skb)
{
	if (skb->protocol != bpf_htons(BT_ETH_P))
		return true;
	/* A tagged frame belongs to the VLAN device above. */
	return skb->vlan_present && skb->vlan_tci & 0xfff;
}

static __always_inline void store_mark(struct __sk_buff *skb, struct bt_pkt *p)
{
	if (p->mark != skb->mark)
		skb->mark = p->mark;
}

#include "host_route.h"
#include "hooks.h"
#include "bridge.h"

/* Where a device has no link header, the kernel may still keep one: of the device that IPsec's or a tunnel's packet came by, and shows it to programs. */
static __always_inline __u32 kept_header(struct __sk_buff *skb)
{
	struct sk_buff___k *k = kernel_skb(skb);

	return k->mac_len;
}

static __always_inline int ingress(struct __sk_buff *skb, __u32 l2len)
{
	const bool bare = !l2len;

	/* A copy of an own multicast or broadcast packet, looped back by the stack, has no link header; what comes in by a VRF has one. */
	if (unlikely(bare || skb->pkt_type == PACKET_LOOPBACK))
		l2len = kept_header(skb);
	struct bt_pkt *p = pkt();
	struct bt_control *ctl = control();
	struct net___k *net = net_of(skb);
	struct bt_route_memo *memo;
	__u32 ct = 0;
	int a, r;

	if (unlikely(!p || !ctl || skip(skb) || elsewhere(net, ctl)))
		return BT_NEXT;
	__u32 kind = take_injected(skb, ctl, &ct);
	if (unlikely((kind & 0xff) == INJ_TEE))
		return tee_send(skb, ctl, l2len, ct);
	if (unlikely((kind & 0xff) == INJ_DONE || skb->pkt_type == PACKET_OTHERHOST))
		return BT_NEXT;
	if (unlikely(!begin(skb, p, ctl, l2len, true)))
		return BT_NEXT;
	p->bare = bare;
	see_in(skb, p, skb->ifindex);
	if (unlikely(p->img_flags & IMG_GROUPS))
		group_note(skb, p->ifin);
	bool known = (kind & 0xff) == INJ_LO;
	if (unlikely(known)) {
		p->flags |= P_LOCAL;
		p->ct = ct;
		p->ctinfo = kind >> 8;
		p->ctdir = kind >> 16;
		p->traced = was_traced(kind);
		/* What OUTPUT found no connection for is looked for again, perhaps in another zone. */
		if (p->ctinfo == CI_INVALID) {
			known = false;
			p->ctinfo = CI_NONE;
		}
	}
	p->came_from = p->saddr;
	p->came_to = p->daddr;
	p->hook = H_PRE;
	if (asks(p, IMG_WHOLE) && unlikely((r = bt_frag(skb))))
		return drop_for(skb, p, r);
	if (unlikely(asked_at_port(skb))) {
		if ((r = resume_from_port(skb, p)) || (r = confirm_copy(skb, p)))
			return drop_for(skb, p, r);
		/* (Of what a VRF's bridge hands up, netfilter asks once more, ip_sabotage_in.) */
		if (!p->vrf)
			goto asked;
		known = p->ctinfo != CI_INVALID;
	}
	if ((a = prerouting(skb, p, known)) != BT_NEXT)
		return a;
asked:
	if (unlikely(is_member(skb, p)) && by_vrf(skb, p)) {
		/* What had no connection is looked for again. */
		if ((a = prerouting(skb, p, p->ctinfo != CI_INVALID)) != BT_NEXT)
			return a;
		if (is_nd(p))
			see_in(skb, p, own_index(skb));
	}
	memo = route_memo(net, p);
	int route = route_in(skb, net, p, memo);
	if (route != ROUTE_LOCAL && asks(p, IMG_CONNTRACK) && unlikely(confirmed_at_input(p)) && (r = bt_ct_reopen(skb)))
		return drop_for(skb, p, r);
	switch (route) {
	case ROUTE_LOCAL:
		if (unlikely(is_elsewhere(skb->tc_index)))
			skb->tc_index = 0;
		return input(skb, p, ctl);
	case ROUTE_STRAIGHT:
		/* The stack drops what has a socket. Rules will ask a SYN's route, which the stack gives it. */
		if (!p->assigned && !p->vrf && !(p->img_flags & IMG_CLAMP && p->proto == IPPROTO_TCP && p->tcp_flags & 2) &&
		    (a = host_route(skb, net, p, memo)) != BT_NEXT)
			return a;
		/* fallthrough */
	case ROUTE_FORWARD:
		/* The stack drops what has a socket and is not for this host, and with it a connection that is new. */
		if (p->assigned)
			return bt_refuse(skb, V_DROP);
		/* Nor does it forward what came for many (ip_forward, ip6_forward). */
		if (unlikely(skb->pkt_type != PACKET_HOST))
			abandon(skb);
		if (stopped_in(skb, p, IPSEC_FWD))
			return drop_for(skb, p, -STAT_DROP_IPSEC);
		if (notes(p))
			note_carry(skb, p);
		if (p->img_flags & IMG_MAC)
			mac_carry(skb, p);
		else if (asks(p, IMG_CONNTRACK))
			bt_ct_hint(skb);
	}
	/* What mac_carry left says so too. */
	if (route == ROUTE_STACK || !(p->img_flags & IMG_MAC))
		skb->tc_index = ELSEWHERE;
	store_mark(skb, p);
	return BT_NEXT;
}

static __always_inline int egress(struct __sk_buff *skb, __u32 l2len)
{
	struct bt_pkt *p = pkt();
	struct bt_control *ctl = control();
	__u32 ct = 0;
	int a, r;

	if (unlikely(!p || !ctl || skip(skb) || elsewhere(net_of(skb), ctl)))
		return BT_NEXT;
	__u32 kind = take_injected(skb, ctl, &ct);
	if (unlikely((kind & 0xff) == INJ_DONE))
		return BT_NEXT;
	if (l2len == ETH_HLEN && unlikely((kind & 0xff) == INJ_BRIDGED))
		return back_to_port(skb, p, ctl, kind, ct);
	if (unlikely((kind & 0xff) == INJ_VRF_DONE || (kind & 0xff) == INJ_VRF_LO)) {
		mark_injected(skb, ctl, (kind & ~0xffu) | ((kind & 0xff) == INJ_VRF_LO ? INJ_LO : INJ_DONE), ct);
		return BT_NEXT;
	}
	bool routed = (kind & 0xff) == INJ_FORWARD;
	/* What the ingress program knew, it knows still. */
	bool known = routed && still_known(skb, p, kind);
	if (!known && !begin(skb, p, ctl, l2len, false))
		return BT_NEXT;
	bool copy = (kind & 0xff) == INJ_TEE_OUT, answer = copy || (kind & 0xff) == INJ_LOCAL_OUT;
	p->answer = copy ? ANSWER_COPY : answer ? ANSWER_REJECT : ANSWER_NONE;
	if (!answer && !routed && (!sent_by_stack(skb) || (at_vrf(skb, p) && passes_vrf(skb))))
		return BT_NEXT;
	p->hop.set = false;
	see_out(skb, p, skb->ifindex);
	if (unlikely(answer)) {
		p->ct = ct;
		/* (About what is untracked: netfilter lets neither NOTRACK nor CT take it.) */
		p->ctinfo = copy ? CI_UNTRACKED : ct ? kind >> 8 : (kind >> 8 & 0xff) == CI_UNTRACKED ? CI_INVALID : CI_NONE;
		p->ctdir = kind >> 16;
		p->traced = was_traced(kind);
	}
	bool forwarded = skb->ingress_ifindex && !answer;
	p->hook = forwarded ? H_FWD : H_OUT;
	/* What this host made, netfilter saw whole, tracked or not: the stack cut it after that. A copy is as what it was made of. */
	if ((!(forwarded || copy) || asks(p, IMG_WHOLE)) && !known && (r = bt_frag(skb)))
		return drop_for(skb, p, r);
	if (forwarded) {
		p->ifin = skb->ingress_ifindex;
		if (p->img_flags & IMG_IFACE && !known)
			p->class_in = bt_dev_class(skb, p->ifin);
		if (routed)
			p->traced = was_traced(kind);
		else if (notes(p))
			note_take(skb, p);
		if (p->img_flags & IMG_MAC)
			mac_take(skb, p);
		if (is_elsewhere(skb->tc_index))
			skb->tc_index = 0;
		if (asks(p, IMG_CONNTRACK) && !known && (r = bt_ct_resume(skb)))
			return drop_for(skb, p, r);
		if ((a = forward(skb, p)) != BT_NEXT)
			return a;
	} else {
		p->flags |= P_LOCAL;
		a = output(skb, p, ctl, answer, &p->hop);
		if (a != BT_NEXT)
			return a;
		if (unlikely(p->halves))
			see_in(skb, p, p->vrf);
	}
	/* What goes in by its VRF is confirmed at INPUT, and translated there; nat's POSTROUTING is not asked. */
	bool to_vrf = p->vrf && p->ifout == p->vrf;
	p->came_mark = p->answer ? 0 : p->mark;
	if ((a = run_table(skb, p, H_POST, T_MANGLE)) != BT_NEXT)
		return a;
	p->came_from = p->saddr;
	p->came_port = p->sport;
	if ((likely(!to_vrf) || is_error(p)) && (a = run_nat(skb, p, H_POST, MANIP_SRC)) != BT_NEXT)
		return a;
	/* A copy has met no policy in legacy's way either. */
	if ((p->answer == ANSWER_REJECT || p->hop.set || !addr_eq(p->saddr, p->came_from) || p->sport != p->came_port) && !stays(p, ctl) &&
	    ipsec_stops(skb, IPSEC_OUT, &p->saddr, &p->daddr, p->came_mark))
		return drop_for(skb, p, -STAT_DROP_IPSEC);
	if (asks(p, IMG_CONNTRACK)) {
		/* An error about a packet that goes no further, as an answer of REJECT, ends what only that packet made: here, or at INPUT
		 * when it goes to this host. (What answers such an answer goes the packet's own way, and has netfilter keep the connection.) */
		if (p->flags & P_LOCAL && p->ctinfo == CI_RELATED && p->ctdir == DIR_REPLY) {
			if (!stays(p, ctl))
				abandon(skb);
		} else if (likely(!to_vrf) && (r = bt_ct_confirm(skb)))
			return drop_for(skb, p, r);
	}
	store_mark(skb, p);
	/* Another neighbour at the same device has another link address. */
	if (unlikely(p->hop.set && (p->ifout != skb->ifindex || (p->l2len && !stays(p, ctl))))) {
		if (stays(p, ctl))
			return to_lo(skb, p, ctl, INJ_LO, p->ifout);
		a = bt_mtu(skb, p->ifout);
		if (a != BT_NEXT)
			return a;
		if (framed(skb, p))
			return drop_for(skb, p, -STAT_DROP_REWRITE);
		mark_injected(skb, ctl, INJ_DONE, 0);
		return redirect_to(p->ifout, &p->hop);
	}
	if (skb->ifindex == p->lo)
		mark_injected(skb, ctl, with_ct(p, INJ_LO), p->ct);
	return BT_NEXT;
}

#if BT_FAMILY == 6
#define PROGRAM(name) bt6_##name
#else
#define PROGRAM(name) bt_##name
#endif

SEC("classifier")
int PROGRAM(ingress_l2)(struct __sk_buff *skb)
{
	return ingress(skb, ETH_HLEN);
}

SEC("classifier")
int PROGRAM(egress_l2)(struct __sk_buff *skb)
{
	return egress(skb, ETH_HLEN);
}

SEC("classifier")
int PROGRAM(ingress_l3)(struct __sk_buff *skb)
{
	return ingress(skb, 0);
}

SEC("classifier")
int PROGRAM(egress_l3)(struct __sk_buff *skb)
{
	return egress(skb, 0);
}

SEC("classifier")
int PROGRAM(set_probe)(struct __sk_buff *skb)
{
	return set_probe(skb);
}

SEC("classifier")
int PROGRAM(ingress_br)(struct __sk_buff *skb)
{
	return port_ingress(skb);
}

SEC("classifier")
int PROGRAM(egress_br)(struct __sk_buff *skb)
{
	return port_egress(skb);
}
