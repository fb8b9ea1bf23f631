/* SPDX-License-Identifier: GPL-2.0-only */
/* The IPv6 parts of answers: what is read of the packet, where the answer leaves, its header. Included by answer.h. */
#pragma once

/* As ipv6_find_hdr found it; an answer goes where the packet came from. */
static __always_inline bool answer_begin(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct bt_answer *a = answer();
	struct answer_ip ip;

	if (!a || bpf_skb_load_bytes(skb, p->l2len, &ip, sizeof(ip)))
		return false;
	a->port = 0;
	a->from_saddr = ip.saddr;
	a->from_daddr = ip.daddr;
	a->from_tos = 0;
	/* Offset and flag of the packet itself, as the IPv4 header has them. */
	a->frag = p->frag_real | (p->flags & P_MORE ? 0x2000 : 0);
	/* What did not come in has its sender here, but for copies, answers of REJECT and what is forged: there it may be any other host. */
	a->local = p->hook == H_IN ? by_loopback(skb, p) : p->hook != H_FWD || p->answer != ANSWER_NONE;
	/* (Of a VRF the FIB knows, once it is asked.) */
	if (likely(!p->vrf))
		a->local = a->local && local_device(ip.saddr);
	return true;
}

/* Neither multicast, nor unspecified. */
static __always_inline bool answer_unicast(struct __sk_buff *skb, const struct bt_pkt *p, bt_addr addr)
{
	return addr_is_unicast(addr);
}

/* The sum that an ICMPv6 error or a TCP segment has from its pseudo header. */
static __always_inline __u32 answer_pseudo(bt_addr saddr, bt_addr daddr, __u32 proto, __u32 len)
{
	struct bt_answer *a = answer();

	if (!a)
		return 0;
	a->pseudo.saddr = saddr;
	a->pseudo.daddr = daddr;
	a->pseudo.len = bpf_htonl(len);
	a->pseudo.proto = bpf_htonl(proto);
	return bpf_csum_diff(NULL, 0, (__u32 *)&a->pseudo, sizeof(a->pseudo), 0);
}

/* Finds where an answer from a->saddr to the sender leaves. 0, or -1: nowhere. No source becomes what the route prefers. */
static __always_inline int answer_route(struct __sk_buff *skb, struct bt_pkt *p, struct bt_answer *a)
{
	bool none = addr_is_none(a->saddr);
	__u32 flags = FIB_SKIP_NEIGH | (none ? FIB_SRC : 0);
	int r = BPF_FIB_LKUP_RET_FWD_DISABLED;

	a->gateway = 0;
	if (a->local && likely(!p->vrf)) {
		a->ifindex = p->lo;
		if (none)
			a->saddr = a->from_saddr;
		return 0;
	}
	if (addr_is_link_local(a->from_saddr)) {
		/* Its link is the one that it came by. */
		a->ifindex = came_by(skb, p);
		return p->ifin && !none ? 0 : -1;
	}
	/* As an own packet, from lo; the lookup refuses a device that does not forward, so else as one from the device it came by. */
	for (int i = 0; i < 2; i++) {
		__builtin_memset(&a->fib, 0, sizeof(a->fib));
		a->fib.family = BT_AF;
		a->fib.l4_protocol = a->proto;
		if (!addr_is_link_local(a->saddr))
			__builtin_memcpy(a->fib.ipv6_src, &a->saddr, 16);
		__builtin_memcpy(a->fib.ipv6_dst, &a->from_saddr, 16);
		a->fib.ifindex = i ? came_by(skb, p) : p->lo;
		r = bpf_fib_lookup(skb, &a->fib, sizeof(a->fib), flags);
		if (r != BPF_FIB_LKUP_RET_FWD_DISABLED)
			break;
	}
	/* An address of this host in the packet's VRF. */
	a->local = a->local && r == BPF_FIB_LKUP_RET_NOT_FWDED;
	if (a->local) {
		a->ifindex = p->lo;
		if (none)
			a->saddr = a->from_saddr;
		return 0;
	}
	if (r == BPF_FIB_LKUP_RET_SUCCESS || r == BPF_FIB_LKUP_RET_NO_NEIGH) {
		a->ifindex = a->fib.ifindex;
		a->gateway = __builtin_memcmp(a->fib.ipv6_dst, &a->from_saddr, 16) != 0;
		if (none)
			__builtin_memcpy(&a->saddr, a->fib.ipv6_src, 16);
		return 0;
	}
	if (r == BPF_FIB_LKUP_RET_FWD_DISABLED && !none && p->ifin) {
		a->ifindex = came_by(skb, p); /* a host that does not forward: back where it came from */
		return 0;
	}
	return -1;
}

static __always_inline void answer_ip_header(struct bt_answer *a, struct answer_ip *ip, __u32 total)
{
	struct bt_icmp_conf *conf = icmp_conf();

	ip->flow = bpf_htonl(0x60000000);
	ip->payload_len = bpf_htons(total - sizeof(*ip));
	ip->nexthdr = a->proto;
	ip->hop_limit = conf ? conf->ttl : 64;
	ip->saddr = a->saddr;
	ip->daddr = a->from_saddr;
}

static __always_inline void answer_ip_sum(struct answer_ip *ip)
{
}
