/* SPDX-License-Identifier: GPL-2.0-only */
/* The IPv4 parts of answers: what is read of the packet, where the answer leaves, its header. Included by answer.h. */
#pragma once

/* Reads what every answer needs of the packet: the header as it is on the packet, not as rules were shown it. */
static __always_inline bool answer_begin(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct bt_answer *a = answer();
	struct answer_ip ip;

	if (!a || bpf_skb_load_bytes(skb, p->l2len, &ip, sizeof(ip)))
		return false;
	a->port = 0;
	a->from_saddr = ip.saddr;
	a->from_daddr = ip.daddr;
	a->from_tos = ip.tos;
	a->frag = bpf_ntohs(ip.frag_off);
	/* What did not come in has its sender here, but for copies, answers of REJECT and what is forged: there it may be any other host. */
	a->local = p->hook == H_IN ? by_loopback(skb, p) : p->hook != H_FWD || p->answer != ANSWER_NONE;
	/* (Of a VRF the FIB knows, once it is asked.) */
	if (likely(!p->vrf))
		a->local = a->local && local_device(ip.saddr);
	return true;
}

/* Neither broadcast nor multicast, by form and by the local table. */
static __always_inline bool answer_unicast(struct __sk_buff *skb, const struct bt_pkt *p, __be32 addr)
{
	__u32 type = addr_type(addr, 0);

	return type != 3 && type != 5 && !(p->vrf && bt_dev_addr(skb, addr, p->vrf, 0) == RTN_BROADCAST);
}

/* The sum that a TCP segment has from its pseudo header. */
static __always_inline __u32 answer_pseudo(bt_addr saddr, bt_addr daddr, __u32 proto, __u32 len)
{
	__u32 pseudo[3] = { saddr, daddr, bpf_htonl(proto << 16 | (len & 0xffff)) };

	return bpf_csum_diff(NULL, 0, pseudo, sizeof(pseudo), 0);
}

/* Finds where an answer from a->saddr to the sender leaves. 0, or -1: nowhere. A source of 0 becomes what the route prefers. */
static __always_inline int answer_route(struct __sk_buff *skb, struct bt_pkt *p, struct bt_answer *a)
{
	__u32 flags = FIB_SKIP_NEIGH | (a->saddr ? 0 : FIB_SRC);
	int r = BPF_FIB_LKUP_RET_FWD_DISABLED;

	if (a->local && likely(!p->vrf)) {
		a->ifindex = p->lo;
		if (!a->saddr)
			a->saddr = (a->from_saddr & 0xff) == 127 ? bpf_htonl(0x7f000001) : a->from_saddr;
		return 0;
	}
	/* As an own packet, from lo; the lookup refuses a device that does not forward, so else as one from the device it came by. */
	for (int i = 0; i < 2; i++) {
		__builtin_memset(&a->fib, 0, sizeof(a->fib));
		a->fib.family = 2; /* AF_INET */
		a->fib.tos = a->tos & INET_DSCP_MASK;
		a->fib.l4_protocol = a->proto;
		a->fib.ipv4_src = a->saddr;
		a->fib.ipv4_dst = a->from_saddr;
		a->fib.ifindex = i ? came_by(skb, p) : p->lo;
		r = bpf_fib_lookup(skb, &a->fib, sizeof(a->fib), flags);
		if (r != BPF_FIB_LKUP_RET_FWD_DISABLED)
			break;
	}
	/* An address of this host in the packet's VRF. */
	a->local = a->local && r == BPF_FIB_LKUP_RET_NOT_FWDED;
	if (a->local) {
		a->ifindex = p->lo;
		if (!a->saddr)
			a->saddr = a->from_saddr;
		return 0;
	}
	if (r == BPF_FIB_LKUP_RET_SUCCESS || r == BPF_FIB_LKUP_RET_NO_NEIGH) {
		a->ifindex = a->fib.ifindex;
		if (!a->saddr)
			a->saddr = a->fib.ipv4_src;
		return 0;
	}
	if (r == BPF_FIB_LKUP_RET_FWD_DISABLED && a->saddr && p->ifin) {
		a->ifindex = came_by(skb, p); /* a host that does not forward: back where it came from */
		return 0;
	}
	return -1;
}

static __always_inline void answer_ip_header(struct bt_answer *a, struct answer_ip *ip, __u32 total)
{
	struct bt_icmp_conf *conf = icmp_conf();

	ip->vihl = 0x45;
	ip->tos = a->tos;
	ip->tot_len = bpf_htons(total);
	ip->frag_off = 0;
	ip->ttl = conf ? conf->ttl : 64;
	ip->protocol = a->proto;
	ip->check = 0;
	ip->saddr = a->saddr;
	ip->daddr = a->from_saddr;
}

static __always_inline void answer_ip_sum(struct answer_ip *ip)
{
	ip->check = 0;
	ip->check = ~answer_fold(bpf_csum_diff(NULL, 0, (__u32 *)ip, sizeof(*ip), 0));
}
