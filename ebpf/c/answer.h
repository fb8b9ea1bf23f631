/* SPDX-License-Identifier: GPL-2.0-only */
/* Turning a packet into another one that goes back to its sender: what REJECT and "fragmentation needed" share. */
#pragma once

#include "bt.h"
#include "vrf.h"
#include "inject.h"
#include "ops_arg.h"
#include "ops_addr.h"

/* Bytes of an ICMP error at most, of its headers, and of the scratch that holds it. */
#if BT_FAMILY == 6
#define ANSWER_ICMP_MAX 1280
#define ANSWER_HEADERS 48
#define ANSWER_MASK 2047
#else
#define ANSWER_ICMP_MAX 576
#define ANSWER_HEADERS 28
#define ANSWER_MASK 1023
#endif
#define ANSWER_BUF (ANSWER_HEADERS + ANSWER_MASK + 1)

#if BT_FAMILY == 6
struct answer_ip {
	__be32 flow;
	__be16 payload_len;
	__u8 nexthdr, hop_limit;
	bt_addr saddr, daddr;
};
#else
struct answer_ip {
	__u8 vihl, tos;
	__be16 tot_len, id, frag_off;
	__u8 ttl, protocol;
	__u16 check;
	__be32 saddr, daddr;
};
#endif

/* The answer under construction. Per CPU: programs do not nest. */
struct bt_answer {
	__u8 buf[ANSWER_BUF]; /* the new IP packet; first the scratch of sums. What is masked to ANSWER_MASK fits behind the headers */
	struct bpf_fib_lookup fib;
	bt_addr from_saddr, from_daddr; /* of the packet */
	__u32 frag;                    /* its fragment word, host order */
	bt_addr saddr;                 /* source of the answer, none: what the route prefers */
	__u8 proto, tos, from_tos, local; /* local: the sender is on this host */
#if BT_FAMILY == 6
	__u32 gateway; /* whether the answer goes by one */
	struct {
		bt_addr saddr, daddr;
		__be32 len, proto;
	} pseudo;
#endif
	__u32 ifindex;                 /* where the answer leaves */
	__u32 port;                    /* the port of a bridge that it leaves by as a frame, below the rules; 0: as a packet */
	__u32 framed;                  /* ... with these link addresses; else the neighbour's is asked */
	__u8 eth[12];
	__u32 left, at, sum;           /* of bt_l4_sum_ok */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_answer);
} bt_answer SEC(".maps");

/* Sysctls of the namespace that answers obey; zero `known`: the kernel's defaults. User space fills it at commit. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bt_icmp_conf);
} bt_icmp_conf SEC(".maps");

static __always_inline struct bt_answer *answer(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_answer, &zero);
}

static __always_inline struct bt_icmp_conf *icmp_conf(void)
{
	__u32 zero = 0;
	struct bt_icmp_conf *c = bpf_map_lookup_elem(&bt_icmp_conf, &zero);
	return c && c->known ? c : NULL;
}

static __always_inline __u32 answer_l4_bytes(const struct bt_pkt *p)
{
	return p->len > p->ihl ? p->len - p->ihl : 0;
}

static __always_inline __u32 answer_l4_at(const struct bt_pkt *p)
{
	return (__u32)p->l2len + p->ihl;
}

static __always_inline __u16 answer_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

#if BT_FAMILY == 6
#include "answer_ip6.h"
#else
#include "answer_ip4.h"
#endif

/* CHECKSUM_UNNECESSARY or CHECKSUM_PARTIAL. (CHECKSUM_COMPLETE is computed again: the same answer.) */
static __always_inline bool answer_vouched(struct __sk_buff *skb)
{
	return BPF_CORE_READ_BITFIELD_PROBED((struct sk_buff *)skb, ip_summed) & 1;
}

struct answer_sum {
	struct __sk_buff *skb;
	struct bt_answer *a;
};

static long answer_sum_step(__u32 n, struct answer_sum *w)
{
	struct bt_answer *a = w->a;
	__u32 len = a->left;

	if (!len)
		return 1;
	if (len >= 512) {
		len = 512;
	} else {
		/* The last piece, padded with zeros to whole words. */
		*(__u32 *)(a->buf + (len & 0x1fc)) = 0;
	}
	if (bpf_skb_load_bytes(w->skb, a->at, a->buf, length(len, 511))) {
		a->left = ~0U;
		return 1;
	}
	__s64 sum = bpf_csum_diff(NULL, 0, (__u32 *)a->buf, masked(len + 3, 0x3fc), a->sum);
	a->sum = sum;
	a->at += len;
	a->left -= len;
	return 0;
}

/* 1: the checksum over the packet's transport part holds, or the device or the sender vouches for it. As nf_ip_checksum: protocols
 * other than TCP and UDP have no pseudo header, and a payload of nothing but zeros passes. */
__noinline int bt_l4_sum_ok(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_answer *a = answer();

	if (!p || !a)
		return 0;
	__u32 len = answer_l4_bytes(p);
	if (answer_vouched(skb))
		return 1;
	a->left = len;
	a->at = answer_l4_at(p);
	a->sum = 0;
	if (p->proto == IPPROTO_TCP || p->proto == IPPROTO_UDP || BT_FAMILY == 6)
		a->sum = answer_pseudo(a->from_saddr, a->from_daddr, p->proto, len);
	struct answer_sum w = { .skb = skb, .a = a };
	bpf_loop(160, answer_sum_step, &w, 0);
	__u16 folded = answer_fold(a->sum);
	return a->left == 0 && (folded == 0xffff || folded == 0);
}

/* Makes the packet `total` bytes of IP long with an Ethernet header before it, and nothing left of its offloads: not GSO, no
 * partial checksum. The bytes are not yet written. Each step has its reason:
 * - any change of the tail ends GSO, and makes the packet linear and private;
 * - taking off more than reaches to where a partial checksum starts (at most 14 + 60 bytes in; IPv6: behind extension headers) makes the kernel forget it;
 * - growing forgets a complete checksum. */
#define ANSWER_CUT (BT_FAMILY == 6 ? 200 : 80)
static __always_inline int answer_reshape(struct __sk_buff *skb, __u32 l2, __u32 total)
{
	if (bpf_skb_change_tail(skb, l2 + ANSWER_CUT + 40, 0) ||
	    bpf_skb_adjust_room(skb, -ANSWER_CUT, BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_change_tail(skb, l2 + 20, 0) || bpf_skb_change_tail(skb, l2 + total, 0))
		return -1;
	return l2 ? 0 : bpf_skb_change_head(skb, ETH_HLEN, 0);
}

/* Puts the first `total` bytes of the buffer in the packet's place and sends it. The packet is lost either way. */
__noinline int bt_answer_send(struct __sk_buff *skb, __u32 total)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_answer *a = answer();
	struct bt_control *ctl = control();
	__u8 eth[ETH_HLEN] = { [12] = BT_ETH_P >> 8, [13] = BT_ETH_P & 255 };

	if (!p || !a || !ctl || total < ANSWER_HEADERS || total > ANSWER_ICMP_MAX)
		return BT_DROP;
	if (p->l2len && p->l2len != ETH_HLEN)
		return BT_DROP;
	loopback_macs(skb, p, a->local ? p->vrf : 0);
	__builtin_memcpy(eth, p->macs, sizeof(p->macs));
	if (answer_reshape(skb, p->l2len, total) || bpf_skb_store_bytes(skb, 0, eth, sizeof(eth), 0))
		return BT_DROP;
	if (bpf_skb_store_bytes(skb, ETH_HLEN, a->buf, length(total, ANSWER_MASK), BPF_F_INVALIDATE_HASH))
		return BT_DROP;
	skb->mark = 0;
	skb->priority = 0;
	if (a->port) {
		mark_injected(skb, ctl, INJ_DONE, 0);
		if (!a->framed)
			return bpf_redirect_neigh(a->ifindex, NULL, 0, 0);
		return bpf_skb_store_bytes(skb, 0, a->eth, 12, 0) ? BT_DROP : bpf_redirect(a->port, 0);
	}
	__u32 info = p->ctinfo == CI_UNTRACKED ? CI_UNTRACKED : CI_RELATED;
	mark_injected(skb, ctl, INJ_LOCAL_OUT | info << 8 | (__u32)!p->ctdir << 16, p->ct);
	if (!a->local || (BT_FAMILY == 4 && addr_first(a->from_saddr) == 127))
		return bpf_redirect_neigh(a->ifindex, NULL, 0, 0);
	/* To an address of this host, over lo. A packet that was on its way out still has that way's route, which lo's ingress would
	 * follow to nowhere; tunnel metadata puts it out of its place and means nothing to lo. (127.0.0.0/8 must have a route, and
	 * bpf_redirect_neigh finds it.) */
	struct bpf_tunnel_key key = {};
	if (bpf_skb_set_tunnel_key(skb, &key, sizeof(key), 0))
		return BT_DROP;
	return bpf_redirect(a->ifindex, 0);
}
