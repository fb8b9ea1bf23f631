/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMP errors, as the kernel's icmp_send makes them: which packets get none, its rate limits, what is quoted. */
#pragma once

#include "bt.h"
#include "answer.h"

/* Types that are answered with an error: echo, timestamp, information and address mask, and their replies. */
#define ICMP_QUERIES (1u << 0 | 1u << 8 | 0x3fu << 13)
#define ICMP_TRIES 4
#define ICMP_BURST 6 /* XRLIM_BURST_FACTOR */

/* Per destination: tokens (ms) << 32 | when (ms, wrapping). Beside the kernel's own, which sees no error of ours. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, bt_addr);
	__type(value, __u64);
} bt_icmp_peers SEC(".maps");

/* The namespace's bucket. */
struct bt_icmp_credit {
	__s32 credit; /* may go below zero */
	__u32 filled; /* ms, wrapping */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_icmp_credit);
} bt_icmp_credit SEC(".maps");

/* Does this protocol have a 16-bit sum over all of its payload, that REJECT is to check first? */
static __always_inline bool icmp_has_sum(struct __sk_buff *skb, struct bt_pkt *p)
{
	__be16 udp[4];

	switch (p->proto) {
	case IPPROTO_UDP:
		return answer_l4_bytes(p) < 8 || bpf_skb_load_bytes(skb, answer_l4_at(p), udp, 8) || udp[3];
	case 47: /* GRE */
	case 50: /* ESP */
	case 51: /* AH */
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		return false;
	}
	return true;
}

static __always_inline struct bt_icmp_credit *icmp_bucket(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_icmp_credit, &zero);
}

/* Is there credit in the namespace's bucket? It is filled when it is found empty, no oftener than every 20 ms. */
static __always_inline bool icmp_global(void)
{
	struct bt_icmp_conf *conf = icmp_conf();
	struct bt_icmp_credit *b = icmp_bucket();
	__u32 now = bpf_ktime_get_ns() / 1000000;
	__s32 burst = conf ? conf->msgs_burst : 50;

	if (!b)
		return false;
	if (*(volatile __s32 *)&b->credit > 0)
		return true;
	__u32 filled = *(volatile __u32 *)&b->filled, gone = now - filled;
	if (gone > 1000)
		gone = 1000;
	__s32 more = (__u64)(conf ? conf->msgs_per_sec : 1000) * gone / 1000;
	if (gone < 20 || !more)
		return false;
	if (__sync_val_compare_and_swap(&b->filled, filled, now) != filled)
		return true;
	for (int i = 0; i < ICMP_TRIES; i++) {
		__s32 old = *(volatile __s32 *)&b->credit, new = old + more > burst ? burst : old + more;
		if (__sync_val_compare_and_swap(&b->credit, old, new) == old)
			break;
	}
	return true;
}

/* An error costs 0 to 2, so that nobody can count them. */
static __always_inline void icmp_consume(void)
{
	struct bt_icmp_credit *b = icmp_bucket();
	if (b)
		__sync_fetch_and_add(&b->credit, -(__s32)(bpf_get_prandom_u32() % 3));
}

/* One error a second (shortened by `shift`) to one destination, six at once. */
static __always_inline bool icmp_peer(bt_addr addr, __u32 shift)
{
	struct bt_icmp_conf *conf = icmp_conf();
	__u32 cost = (conf ? conf->ratelimit_ms : 1000) >> shift;
	__u32 now = bpf_ktime_get_ns() / 1000000;
	__u64 *state;

	if (!cost)
		return true;
	if (cost > 1u << 28)
		cost = 1u << 28;
	state = bpf_map_lookup_elem(&bt_icmp_peers, &addr);
	if (!state) {
		__u64 fresh = (__u64)(cost * (ICMP_BURST - 1)) << 32 | now;
		bpf_map_update_elem(&bt_icmp_peers, &addr, &fresh, BPF_NOEXIST);
		return true;
	}
	for (int i = 0; i < ICMP_TRIES; i++) {
		__u64 old = *(volatile __u64 *)state;
		__u32 gone = now - (__u32)old;
		__u64 tokens = (old >> 32) + ((__s32)gone < 0 ? 0 : gone);
		if (tokens > cost * ICMP_BURST)
			tokens = cost * ICMP_BURST;
		bool pass = tokens >= cost;
		if (pass)
			tokens -= cost;
		if (__sync_val_compare_and_swap(state, old, tokens << 32 | now) == old)
			return pass;
	}
	return false;
}

#if BT_FAMILY == 6
#include "icmp6.h"
#else
/* Answers the packet with an ICMP error: `info` (network byte order) is the second word of the ICMP header. answer_begin() was
 * called. Returns tc's action, BT_DROP where nothing may be sent. */
__noinline int bt_icmp_error(struct __sk_buff *skb, __u32 type, __u32 code, __u32 info)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_answer *a = answer();
	struct bt_icmp_conf *conf = icmp_conf();
	struct answer_ip *ip;
	__u8 inner;

	if (!p || !a || type > 18)
		return BT_DROP;
	if (a->frag & 0x1fff || addressed_to(skb, p) || !answer_unicast(skb, p, a->from_daddr))
		return BT_DROP;
	if (p->proto == BT_ICMP) {
		if (!answer_l4_bytes(p) || bpf_skb_load_bytes(skb, answer_l4_at(p), &inner, 1))
			return BT_DROP;
		if (inner > 18 || !(ICMP_QUERIES >> inner & 1))
			return BT_DROP;
	}
	/* What TPROXY took for another host: an error would have that one's address as its source, which no route is given for. */
	if (p->assigned && addr_type(a->from_daddr, 0) != 2)
		return BT_DROP;
	bool limited = (conf ? conf->ratemask : 6168) >> type & 1 && !(type == 3 && code == 4);
	bool global = limited && !(p->hook == H_IN && by_loopback(skb, p));
	if (global && !icmp_global())
		return BT_DROP;
	a->saddr = p->hook == H_IN || (p->hook == H_OUT && (addr_type(a->from_daddr, 0) == 2 || at_vrf(skb, p))) ? a->from_daddr : 0;
	a->proto = BT_ICMP;
	a->tos = (a->from_tos & 0x1e) | 0xc0;
	if (answer_route(skb, p, a) < 0)
		return BT_DROP;
	if (!a->saddr)
		a->saddr = bpf_htonl(0xc0000008); /* INADDR_DUMMY */
	if (limited && !a->local && !icmp_peer(a->from_saddr, 0))
		return BT_DROP;
	if (global)
		icmp_consume();

	__u32 quoted = p->len;
	if (quoted > ANSWER_ICMP_MAX - 28)
		quoted = ANSWER_ICMP_MAX - 28;
	if (quoted < 20)
		return BT_DROP;
	*(__u32 *)(a->buf + 28 + masked(quoted, 0x3fc)) = 0;
	if (bpf_skb_load_bytes(skb, p->l2len, a->buf + 28, length(quoted, 1023)))
		return BT_DROP;
	ip = (struct answer_ip *)a->buf;
	answer_ip_header(a, ip, quoted + 28);
	ip->id = bpf_get_prandom_u32();
	__u32 *icmp = (__u32 *)(a->buf + 20);
	icmp[0] = bpf_htonl(type << 24 | code << 16);
	icmp[1] = info;
	/* 512 bytes are summed at most in one go. */
	__u32 words = (quoted + 8 + 3) & ~3U, first = words > 512 ? 512 : words, rest = words - first;
	__s64 sum = bpf_csum_diff(NULL, 0, icmp, masked(first, 0x3fc), 0);
	if (rest)
		sum = bpf_csum_diff(NULL, 0, (__u32 *)(a->buf + 20 + 512), masked(rest, 0x3c), sum);
	*(__u16 *)(a->buf + 22) = ~answer_fold(sum);
	answer_ip_sum(ip);
	return bt_answer_send(skb, quoted + 28);
}
#endif
