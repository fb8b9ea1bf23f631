/* SPDX-License-Identifier: GPL-2.0-only */
/* -m socket and -j TPROXY: the socket of this host that a packet is for. Include ops_packet.h, nat_dev.h and ct.h first.
 *
 * Helpers find sockets as the stack does, by the packet's device: those that are connected or half open before those that listen. */
#pragma once

#include "bt.h"
#include "ct.h"
#include "kernel.h"
#include "nat_dev.h"
#include "ops_arg.h"
#include "ops_l4.h"

#define SOCK_ESTABLISHED 1
#define SOCK_TIME_WAIT 6
#define SOCK_LISTEN 10
#define SOCK_NEW_SYN_RECV 12
#define SOCK_TRANSPARENT (1ul << 15) /* of inet_flags: IP_TRANSPARENT, IPV6_TRANSPARENT */

struct in6_addr___sk {
	__u32 w[4];
};
struct sock_common___sk {
	unsigned char skc_state;
	__u32 skc_rcv_saddr;
	struct in6_addr___sk skc_v6_rcv_saddr;
} __attribute__((preserve_access_index));
struct sock___sk {
	struct sock_common___sk __sk_common;
	__u32 sk_mark;
} __attribute__((preserve_access_index));
struct inet_sock {
	unsigned long inet_flags;
} __attribute__((preserve_access_index));
struct inet_timewait_sock {
	unsigned int tw_transparent : 1;
} __attribute__((preserve_access_index));
struct inet_request_sock {
	__u16 no_srccheck : 1;
} __attribute__((preserve_access_index));
struct sk_buff___sk {
	struct sock *sk;
} __attribute__((preserve_access_index));

/* What is asked of a socket. */
enum { SOCKET_TRANSPARENT = 1, SOCKET_NO_WILDCARD = 2, SOCKET_MARK = 4 };

/* A socket at an address in the kernel. */
static __always_inline struct sock___sk *sock_at(unsigned long at)
{
	return kernel_object(at, bpf_core_type_id_kernel(struct sock));
}

static __always_inline __u32 sock_state(unsigned long at)
{
	return sock_at(at)->__sk_common.skc_state;
}

static __always_inline bool sock_transparent(unsigned long at, __u32 state)
{
	struct inet_sock *inet;

	if (state == SOCK_TIME_WAIT) {
		struct inet_timewait_sock *tw = kernel_object(at, bpf_core_type_id_kernel(struct inet_timewait_sock));
		return BPF_CORE_READ_BITFIELD(tw, tw_transparent);
	}
	if (state == SOCK_NEW_SYN_RECV) {
		struct inet_request_sock *request = kernel_object(at, bpf_core_type_id_kernel(struct inet_request_sock));
		return BPF_CORE_READ_BITFIELD(request, no_srccheck);
	}
	inet = kernel_object(at, bpf_core_type_id_kernel(struct inet_sock));
	return inet->inet_flags & SOCK_TRANSPARENT;
}

/* Bound to no address. */
static __always_inline bool sock_wildcard(unsigned long at)
{
	struct sock___sk *sk = sock_at(at);
#if BT_FAMILY == 6
	bt_addr bound = {};

	bpf_probe_read_kernel(&bound, sizeof(bound), &sk->__sk_common.skc_v6_rcv_saddr);
	return addr_is_none(bound);
#else
	return !sk->__sk_common.skc_rcv_saddr;
#endif
}

static __always_inline int socket_holds(struct bt_pkt *p, unsigned long at, __u32 asked)
{
	__u32 state = sock_state(at);
	bool full = state != SOCK_TIME_WAIT && state != SOCK_NEW_SYN_RECV;

	if (!(asked & SOCKET_NO_WILDCARD) && full && sock_wildcard(at))
		return 0;
	if (asked & SOCKET_TRANSPARENT && !sock_transparent(at, state))
		return 0;
	if (asked & SOCKET_MARK && full)
		p->mark = sock_at(at)->sk_mark;
	return 1;
}

#if BT_FAMILY == 6
#define TUPLE_SIZE sizeof(((struct bpf_sock_tuple *)0)->ipv6)

static __always_inline void tuple_set(struct bpf_sock_tuple *t, bt_addr saddr, __be16 sport, bt_addr daddr, __be16 dport)
{
	__builtin_memcpy(t->ipv6.saddr, &saddr, 16);
	__builtin_memcpy(t->ipv6.daddr, &daddr, 16);
	t->ipv6.sport = sport;
	t->ipv6.dport = dport;
}
#define TUPLE_SPORT(t) ((t)->ipv6.sport)
#else
#define TUPLE_SIZE sizeof(((struct bpf_sock_tuple *)0)->ipv4)

static __always_inline void tuple_set(struct bpf_sock_tuple *t, bt_addr saddr, __be16 sport, bt_addr daddr, __be16 dport)
{
	t->ipv4.saddr = saddr;
	t->ipv4.daddr = daddr;
	t->ipv4.sport = sport;
	t->ipv4.dport = dport;
}
#define TUPLE_SPORT(t) ((t)->ipv4.sport)
#endif

/* An ICMP error is for the socket that sent what it quotes. Returns the quoted protocol, 0: none. */
static __always_inline __u32 quoted_socket(struct __sk_buff *skb, struct bt_pkt *p, bt_addr *saddr, bt_addr *daddr, __be16 *ports)
{
	__u32 at = (__u32)p->l2len + p->ihl + 8, end = (__u32)p->l2len + p->len, proto;

	if (p->frag_off || !p->npkts)
		return 0;
#if BT_FAMILY == 6
	struct ext_walk w = { .skb = skb, .at = at + 40, .end = end };
	__u8 next;

	if (p->icmp_type >= 128 || at + 40 > end || bpf_skb_load_bytes(skb, at + 6, &next, 1) ||
	    bpf_skb_load_bytes(skb, at + 8, daddr, 16) || bpf_skb_load_bytes(skb, at + 24, saddr, 16))
		return 0;
	w.next = next;
	bpf_loop(EXT_MAX, ext_step, &w, 0);
	if (w.bad || w.frag & ~7u)
		return 0;
	at = w.at;
	proto = w.next;
#else
	struct bt_iphdr ip;
	__u32 type = p->icmp_type;

	if ((type != 3 && type != 4 && type != 5 && type != 11 && type != 12) || at + sizeof(ip) > end ||
	    bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
		return 0;
	*saddr = ip.daddr;
	*daddr = ip.saddr;
	at += (ip.vihl & 15) * 4;
	proto = ip.protocol;
#endif
	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) || at + 4 > end || bpf_skb_load_bytes(skb, at, ports, 4))
		return 0;
	__be16 first = ports[0];
	ports[0] = ports[1];
	ports[1] = first;
	return proto;
}

/* The addresses and ports by which a packet's socket is found. Returns the protocol, 0: it can have none. */
static __always_inline __u32 socket_tuple(struct __sk_buff *skb, struct bt_pkt *p, struct bpf_sock_tuple *t)
{
	bt_addr saddr = p->saddr, daddr = p->daddr;
	__be16 ports[2] = { bpf_htons(p->sport), bpf_htons(p->dport) };
	struct bt_conn *ct = bt_conn_of(p);
	__u32 proto = p->proto;

	if (BT_FAMILY == 6 && p->flags & P_BAD_EXT)
		return 0;
	if (proto == IPPROTO_TCP || proto == IPPROTO_UDP) {
		if (p->flags & P_TRUNC || !(p->flags & P_PORTS))
			return 0;
	} else if (proto != BT_ICMP || p->flags & P_TRUNC || !(proto = quoted_socket(skb, p, &saddr, &daddr, ports))) {
		return 0;
	}
	/* The answer to what was sent under another address: the socket has its own. */
	if (ct && ct->status & ST_SRC_NAT_DONE && p->ctdir == DIR_REPLY &&
	    p->ctinfo == (p->proto == BT_ICMP ? CI_RELATED : CI_ESTABLISHED)) {
		daddr = ct->orig.saddr;
		ports[1] = ct->orig.sport;
	}
	tuple_set(t, saddr, ports[0], daddr, ports[1]);
	return proto;
}

__noinline int bt_op_socket(struct __sk_buff *skb, __u32 how)
{
	keep_arg(skb);
	struct bpf_sock_tuple t;
	struct bt_pkt *p = pkt();
	__u32 asked = how >> 16, proto;
	struct bpf_sock *sk;
	int r;

	if (!p)
		return -1;
	if (p->assigned) {
		struct sk_buff___sk *k = kernel_skb(skb);
		unsigned long at = (unsigned long)k->sk;

		barrier_var(at);
		return at ? socket_holds(p, at, asked) : 0;
	}
	proto = socket_tuple(skb, p, &t);
	if (proto == IPPROTO_TCP)
		sk = bpf_skc_lookup_tcp(skb, &t, TUPLE_SIZE, BPF_F_CURRENT_NETNS, 0);
	else if (proto == IPPROTO_UDP)
		sk = bpf_sk_lookup_udp(skb, &t, TUPLE_SIZE, BPF_F_CURRENT_NETNS, 0);
	else
		return 0;
	if (!sk)
		return 0;
	r = socket_holds(p, (unsigned long)sk, asked);
	bpf_sk_release(sk);
	return r;
}

static __always_inline struct bpf_sock *tproxy_find(struct __sk_buff *skb, const struct bt_pkt *p, struct bpf_sock_tuple *t)
{
	if (p->proto == IPPROTO_TCP)
		return bpf_skc_lookup_tcp(skb, t, TUPLE_SIZE, BPF_F_CURRENT_NETNS, 0);
	return bpf_sk_lookup_udp(skb, t, TUPLE_SIZE, BPF_F_CURRENT_NETNS, 0);
}

/* Whether a socket that was found has a connection with the packet's sender. */
static __always_inline bool tproxy_connected(const struct bt_pkt *p, unsigned long at)
{
	__u32 state = sock_state(at);

	return p->proto == IPPROTO_TCP ? state != SOCK_LISTEN : state == SOCK_ESTABLISHED;
}

/* Gives the packet to the socket, which is a transparent one. */
static __always_inline int tproxy_assign(struct __sk_buff *skb, struct bt_pkt *p, struct bpf_sock *sk, const struct bt_tproxy_params *n)
{
	unsigned long at = (unsigned long)sk;

	if (!sock_transparent(at, sock_state(at)))
		return 0;
	if (p->ifin != skb->ifindex) {
		/* At a bridge's port: the stack behind the bridge takes it off again, as it does legacy's. */
		p->mark = (p->mark & ~n->mask) ^ n->mark;
		return 1;
	}
	if (bpf_sk_assign(skb, sk, 0))
		return 0;
	p->mark = (p->mark & ~n->mask) ^ n->mark;
	p->assigned = 1;
	return 1;
}

/* `at`: line of struct bt_tproxy_params. 1: the packet has a socket; 0: it is dropped. */
__noinline int bt_target_tproxy(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	void *img = p ? image(p->slot) : NULL;
	struct bt_tproxy_params *n = img ? line(img, at) : NULL;
	struct bpf_sock_tuple t;
	struct bpf_sock *sk;
	bt_addr addr;
	int r;

	if (!p || !n || p->flags & P_TRUNC || !(p->flags & P_PORTS))
		return 0;
	/* The stack puts fragments together, which have no socket then. */
	if (p->flags & P_MORE || !p->npkts) {
		stat_add(STAT_DROP_FRAGMENT);
		return 0;
	}
	tuple_set(&t, p->saddr, bpf_htons(p->sport), p->daddr, bpf_htons(p->dport));
	sk = tproxy_find(skb, p, &t);
	if (sk) {
		unsigned long found = (unsigned long)sk;
		if (tproxy_connected(p, found) && (p->proto == IPPROTO_TCP || !sock_wildcard(found))) {
			r = tproxy_assign(skb, p, sk, n);
			bpf_sk_release(sk);
			return r;
		}
		bpf_sk_release(sk);
	}
	addr = *(bt_addr *)n->addr;
	if (addr_is_none(addr))
		addr = tproxy_addr(skb);
	if (addr_is_none(addr))
		addr = p->daddr;
	tuple_set(&t, p->saddr, bpf_htons(p->sport), addr, bpf_htons(n->port ? n->port : p->dport));
	sk = tproxy_find(skb, p, &t);
	if (sk && p->proto == IPPROTO_TCP && tproxy_connected(p, (unsigned long)sk)) {
		/* A connection of the sender with the listener's own address. Nobody has port 0. */
		bpf_sk_release(sk);
		TUPLE_SPORT(&t) = 0;
		sk = tproxy_find(skb, p, &t);
	}
	if (!sk)
		return 0;
	r = tproxy_connected(p, (unsigned long)sk) ? 0 : tproxy_assign(skb, p, sk, n);
	bpf_sk_release(sk);
	return r;
}
