/* SPDX-License-Identifier: GPL-2.0-only */
/* Targets that write into the headers of the packet: TOS and DSCP, TTL and HL, ECN, TCPMSS, TCPOPTSTRIP; CHECKSUM and the prefix
 * translation of IPv6, which have files of their own; and CLASSIFY, which marks it for queueing.
 *
 * Each is what its netfilter module does, also where that is odd: checksums are patched as the module patches them. Answers: 0 the rules
 * go on, -1 the packet is dropped (where netfilter's module gives NF_DROP). One global function each, verified once. */
#pragma once

#include "bt.h"
#include "ops_arg.h"
#include "ops_l4.h"

#define TCP_CHECK 16
#define TCPOPT_NOP 1
#define TCPOPT_MSS 2
#if BT_FAMILY == 6
/* What a host offers that says nothing. */
#define DEFAULT_MSS 1220
#define LENGTH_AT 4
#define LENGTH_OF(p) ((p)->len - 40)
#define HOPS_AT 7

/* The 16 bits at `word` of the IPv6 header become `to`. Nothing sums them, but a checksum of the device does, over all. */
static __always_inline int ip_word(struct __sk_buff *skb, struct bt_pkt *p, __u32 word, __be16 to)
{
	return bpf_skb_store_bytes(skb, p->l2len + word, &to, sizeof(to), BPF_F_RECOMPUTE_CSUM) ? -1 : 0;
}
#else
#define DEFAULT_MSS 536
#define LENGTH_AT 2
#define LENGTH_OF(p) ((p)->len)
#define HOPS_AT 8

/* The 16 bits at `word` of the IPv4 header become `to`, and its checksum is patched. */
static __always_inline int ip_word(struct __sk_buff *skb, struct bt_pkt *p, __u32 word, __be16 to)
{
	__be16 from;

	if (bpf_skb_load_bytes(skb, p->l2len + word, &from, sizeof(from)))
		return -1;
	if (from == to)
		return 0;
	if (bpf_l3_csum_replace(skb, p->l2len + 10, from, to, sizeof(to)) ||
	    bpf_skb_store_bytes(skb, p->l2len + word, &to, sizeof(to), 0))
		return -1;
	return 0;
}
#endif

/* TOS = (TOS & ~mask) ^ value; how = value | mask << 8. */
__noinline int bt_target_tos(struct __sk_buff *skb, __u32 how)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u8 word[2];

	if (!p || bpf_skb_load_bytes(skb, p->l2len, word, sizeof(word)))
		return -1;
#if BT_FAMILY == 6
	p->tos = (word[0] << 4 | word[1] >> 4);
	p->tos = (p->tos & ~(how >> 8)) ^ how;
	word[0] = (word[0] & 0xf0) | p->tos >> 4;
	word[1] = (word[1] & 0x0f) | p->tos << 4;
#else
	word[1] = (word[1] & ~(how >> 8)) ^ how;
	p->tos = word[1];
#endif
	return ip_word(skb, p, 0, *(__be16 *)word);
}

/* how = 0 set, 1 increment, 2 decrement | value << 8. */
__noinline int bt_target_ttl(struct __sk_buff *skb, __u32 how)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u8 word[2]; /* with the protocol: of IPv4 the second byte, of IPv6 the first */
	const int at = HOPS_AT & 1;
	int ttl, value = how >> 8 & 0xff;

	if (!p || bpf_skb_load_bytes(skb, p->l2len + (HOPS_AT & ~1), word, sizeof(word)))
		return -1;
	ttl = word[at];
	switch (how & 0xff) {
	case 0:
		ttl = value;
		break;
	case 1:
		ttl = ttl + value > 255 ? 255 : ttl + value;
		break;
	default:
		ttl = ttl < value ? 0 : ttl - value;
	}
	word[at] = ttl;
	p->ttl = ttl;
	return ip_word(skb, p, HOPS_AT & ~1, *(__be16 *)word);
}

#if BT_FAMILY == 4

/* how = bit 0: set ECE to bit 1; bit 2: set CWR to bit 3; bit 4: the ECT bits become bits 5 and 6. */
__noinline int bt_target_ecn(struct __sk_buff *skb, __u32 how)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u8 word[2], want;
	__be16 from;

	if (!p)
		return -1;
	if (how & 1 << 4 && bt_target_tos(skb, 3u << 8 | (how >> 5 & 3)))
		return -1;
	if (!(how & (1 << 0 | 1 << 2)) || p->proto != IPPROTO_TCP)
		return 0;
	if (l4_bytes(p) < 20 || bpf_skb_load_bytes(skb, l4_at(p) + 12, word, sizeof(word)))
		return -1;
	want = word[1];
	if (how & 1 << 0)
		want = (want & ~0x40) | (how & 1 << 1 ? 0x40 : 0);
	if (how & 1 << 2)
		want = (want & ~0x80) | (how & 1 << 3 ? 0x80 : 0);
	if (want == word[1])
		return 0;
	from = *(__be16 *)word;
	word[1] = want;
	if (bpf_l4_csum_replace(skb, l4_at(p) + TCP_CHECK, from, *(__be16 *)word, sizeof(from)) ||
	    bpf_skb_store_bytes(skb, l4_at(p) + 12, word, sizeof(word), 0))
		return -1;
	if (!p->frag_off)
		p->tcp_flags = want;
	return 0;
}
#endif

/* The length of a TCP header, 0 if the packet does not hold all of it. */
static __always_inline __u32 tcp_header(struct __sk_buff *skb, struct bt_pkt *p)
{
	__u8 doff;

	if (l4_bytes(p) < 20 || bpf_skb_load_bytes(skb, l4_at(p) + 12, &doff, 1))
		return 0;
	__u32 header = (doff >> 4) * 4;
	return header >= 20 && header <= l4_bytes(p) ? header : 0;
}

/* What is added to get to the next option: NOP and END are one byte, and so is what has no length. */
static __always_inline __u32 tcp_step(const __u8 *opt)
{
	return opt[0] <= TCPOPT_NOP || !opt[1] ? 1 : opt[1];
}

/* A walk over the options of a TCP header, under bpf_loop: verified once. */
struct tcp_walk {
	struct __sk_buff *skb;
	void *kinds;  /* TCPOPTSTRIP: line of 8 words */
	__u32 at;     /* where the TCP header begins */
	__u32 header; /* its length */
	__u32 i;      /* where in it the walk is */
	__u32 left;   /* TCPOPTSTRIP: bytes of an option that are still to be overwritten */
	__be16 mss;   /* TCPMSS: what the option says */
	__u8 found;
	__u8 failed;
};

static long mss_step(__u32 n, struct tcp_walk *w)
{
	__u8 opt[4];

	if (w->i + 4 > w->header)
		return 1;
	if (bpf_skb_load_bytes(w->skb, w->at + w->i, opt, sizeof(opt))) {
		w->failed = 1;
		return 1;
	}
	if (opt[0] == TCPOPT_MSS && opt[1] == 4) {
		w->mss = *(__be16 *)(opt + 2);
		w->found = 1;
		return 1;
	}
	w->i += tcp_step(opt);
	return 0;
}

/* Moves the last four bytes of the options that were not moved yet up by four. */
static long move_step(__u32 n, struct tcp_walk *w)
{
	__u8 moved[4];

	if (w->i <= 20)
		return 1;
	w->i -= 4;
	if (bpf_skb_load_bytes(w->skb, w->at + w->i, moved, sizeof(moved)) ||
	    bpf_skb_store_bytes(w->skb, w->at + w->i + 4, moved, sizeof(moved), 0)) {
		w->failed = 1;
		return 1;
	}
	return 0;
}

/* Makes room for the option behind the fixed part of the header, which is all the segment. */
static __always_inline int tcp_add_mss(struct __sk_buff *skb, struct bt_pkt *p, struct tcp_walk *w, __u32 mss)
{
	__u32 at = w->at, len = l4_bytes(p);
	__u8 opt[4] = { TCPOPT_MSS, 4, mss >> 8, mss };
	__u8 word[2];
	__be16 from;

	if (bpf_skb_change_tail(skb, p->l2len + p->len + 4, 0))
		return -1;
	w->i = w->header;
	bpf_loop(10, move_step, w, 0);
	if (w->failed || bpf_skb_store_bytes(skb, at + 20, opt, sizeof(opt), 0) ||
	    bpf_skb_load_bytes(skb, at + 12, word, sizeof(word)))
		return -1;
	from = *(__be16 *)word;
	word[0] += 0x10;
	if (bpf_l4_csum_replace(skb, at + TCP_CHECK, bpf_htons(len), bpf_htons(len + 4), BPF_F_PSEUDO_HDR | 2) ||
	    bpf_l4_csum_replace(skb, at + TCP_CHECK, 0, *(__be32 *)opt, 4) ||
	    bpf_l4_csum_replace(skb, at + TCP_CHECK, from, *(__be16 *)word, 2) ||
	    bpf_skb_store_bytes(skb, at + 12, word, sizeof(word), 0))
		return -1;
	p->len += 4;
	p->nbytes += 4;
	return ip_word(skb, p, LENGTH_AT, bpf_htons(LENGTH_OF(p)));
}

#include "mss_clamp.h"

/* The MSS is at most `mss`, or what the routes leave room for (MSS_CLAMP). */
__noinline int bt_target_tcpmss(struct __sk_buff *skb, __u32 mss)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	struct tcp_walk w = { .skb = skb, .at = l4_at(p), .header = tcp_header(skb, p), .i = 20 };
	if (!w.header)
		return -1;
	if (mss == MSS_CLAMP) {
		__u32 mtu = path_mtu(skb, p);
		if (mtu <= CLAMP_HEADERS)
			return -1;
		mss = (mtu - CLAMP_HEADERS) & 0xffff;
	}
	bpf_loop(40, mss_step, &w, 0);
	if (w.failed)
		return -1;
	if (w.found) {
		__be16 to = bpf_htons(mss);
		if (bpf_ntohs(w.mss) <= mss)
			return 0;
		if (bpf_l4_csum_replace(skb, w.at + TCP_CHECK, w.mss, to, 2) ||
		    bpf_skb_store_bytes(skb, w.at + w.i + 2, &to, sizeof(to), 0))
			return -1;
		return 0;
	}
	/* With data behind it, or with a full header, there is no room. What has no option can take the default. */
	if (l4_bytes(p) > w.header || w.header >= 60)
		return 0;
	return tcp_add_mss(skb, p, &w, mss < DEFAULT_MSS ? mss : DEFAULT_MSS);
}

/* One byte a turn. */
static long strip_step(__u32 n, struct tcp_walk *w)
{
	__u8 opt[2], nop = TCPOPT_NOP;

	if (!w->left) {
		if (w->i + 1 >= w->header)
			return 1;
		if (bpf_skb_load_bytes(w->skb, w->at + w->i, opt, sizeof(opt))) {
			w->failed = 1;
			return 1;
		}
		__u32 step = tcp_step(opt);
		struct bt_line *kinds = w->kinds;
		if (w->i + step > w->header)
			return 1;
		if (!(kinds->w[masked(opt[0] >> 5, 7)] >> (opt[0] & 31) & 1)) {
			w->i += step;
			return 0;
		}
		w->left = step;
	} else if (bpf_skb_load_bytes(w->skb, w->at + w->i, opt, 1)) {
		w->failed = 1;
		return 1;
	}
	__be16 from = bpf_htons(w->i & 1 ? opt[0] : opt[0] << 8), to = bpf_htons(w->i & 1 ? nop : nop << 8);
	if (bpf_l4_csum_replace(w->skb, w->at + TCP_CHECK, from, to, 2) ||
	    bpf_skb_store_bytes(w->skb, w->at + w->i, &nop, 1, 0)) {
		w->failed = 1;
		return 1;
	}
	w->i++;
	w->left--;
	return 0;
}

/* `at`: line of 8 words, a bit for each kind of option. */
__noinline int bt_target_tcpoptstrip(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	void *img = image(p->slot);
	struct tcp_walk w = { .skb = skb, .at = l4_at(p), .header = tcp_header(skb, p), .i = 20 };
	w.kinds = img ? line(img, at) : 0;
	if (!w.kinds || !w.header)
		return -1;
	bpf_loop(40, strip_step, &w, 0);
	return w.failed ? -1 : 0;
}

#include "checksum_target.h"
#include "npt.h"

/* One of these targets. 0: the rules go on; -1: the packet is dropped. */
static __always_inline int header_target(struct __sk_buff *skb, __u32 target, __u32 arg)
{
	switch (target) {
	case TG_TOS:
		return bt_target_tos(skb, arg);
	case TG_TTL:
		return bt_target_ttl(skb, arg);
	case TG_TCPMSS:
		return bt_target_tcpmss(skb, arg);
	case TG_TCPOPTSTRIP:
		return bt_target_tcpoptstrip(skb, arg);
	case TG_CLASSIFY:
		skb->priority = arg;
		return 0;
	case TG_CHECKSUM:
		return bt_target_checksum(skb);
#if BT_FAMILY == 6
	case TG_SNPT:
	case TG_DNPT:
		return bt_target_npt(skb, arg, target == TG_DNPT);
#else
	case TG_ECN:
		return bt_target_ecn(skb, arg);
#endif
	}
	return -1;
}
