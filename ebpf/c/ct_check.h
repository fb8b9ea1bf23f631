/* SPDX-License-Identifier: GPL-2.0-only */
/* The L4 header as connection tracking reads it: sanity, checksums, ports. */
#pragma once

#include "ct_table.h"
#include "nat_sctp.h"
#include "sctp.h"
#include "sctp_sum.h"
#include "tcp.h"

struct sk_buff___ct {
	__u8 ip_summed : 2;
	__u32 csum;
} __attribute__((preserve_access_index));

enum { SUM_NONE, SUM_UNNECESSARY, SUM_COMPLETE, SUM_PARTIAL };

static __always_inline __u32 skb_summed(struct __sk_buff *skb)
{
	struct sk_buff___ct *k = (void *)skb;

	return BPF_CORE_READ_BITFIELD_PROBED(k, ip_summed);
}

static __always_inline __u32 sum_fold(__u32 s)
{
	s = (s & 0xffff) + (s >> 16);
	return (s & 0xffff) + (s >> 16);
}

static long sum_cb(__u32 n, void *data)
{
	struct __sk_buff *skb = *(struct __sk_buff **)data;
	struct bt_ctx *x = ctx_();
	__u32 len, words;
	__s64 s;

	if (!x)
		return 1;
	len = x->c_left;
	if (!len)
		return 1;
	if (len >= sizeof(x->buf)) {
		words = len = sizeof(x->buf);
		if (bpf_skb_load_bytes(skb, x->c_at, x->buf, sizeof(x->buf)))
			goto bad;
	} else {
		words = (len + 3) & (sizeof(x->buf) - 4);
		if (!words)
			words = sizeof(x->buf);
		*(__u32 *)(x->buf + ((words - 4) & (sizeof(x->buf) - 4))) = 0;
		if (bpf_skb_load_bytes(skb, x->c_at, x->buf, length(len, sizeof(x->buf) - 1)))
			goto bad;
	}
	s = bpf_csum_diff(NULL, 0, (void *)x->buf, length(words, sizeof(x->buf) - 1), x->c_sum);
	if (s < 0)
		goto bad;
	x->c_sum = s;
	x->c_at += len;
	x->c_left -= len;
	return 0;
bad:
	x->c_sum = 0;
	x->c_left = ~0u;
	return 1;
}

/* Whether the L4 checksum over `len` bytes is right. `pseudo`: the length in the pseudo header, 0: without one. */
__noinline int bt_sum_ok(struct __sk_buff *skb, __u32 len, __u32 pseudo)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 how = skb_summed(skb), sum = 0, whole;
	struct sk_buff___ct *k = (void *)skb;

	if (!p || !x)
		return 0;
	if (how == SUM_UNNECESSARY || how == SUM_PARTIAL)
		return 1;
	if (pseudo) {
#if BT_FAMILY == 6
		__u64 s = (__u64)bpf_htonl(pseudo) + bpf_htonl(p->proto);
		for (int i = 0; i < 4; i++)
			s += (__u64)p->saddr.w[i] + p->daddr.w[i];
		s = (s & 0xffffffff) + (s >> 32);
		sum = sum_fold((s & 0xffffffff) + (s >> 32));
#else
		sum = (p->saddr & 0xffff) + (p->saddr >> 16) + (p->daddr & 0xffff) + (p->daddr >> 16);
		sum += bpf_htons(p->proto) + bpf_htons(pseudo & 0xffff);
#endif
	}
	if (BT_FAMILY == 4 && how == SUM_COMPLETE) {
		/* Over the IP packet; a right IP header adds nothing. */
		whole = sum_fold(BPF_CORE_READ(k, csum));
		if (sum_fold(whole + sum_fold(sum)) == 0xffff)
			return 1;
	}
	x->c_sum = sum_fold(sum);
	x->c_at = x->l4off;
	x->c_left = len;
	bpf_loop(260, sum_cb, &skb, 0);
	return !x->c_left && sum_fold(x->c_sum) == 0xffff;
}

static __always_inline __u32 get_be32(const __u8 *b)
{
	return (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
}

/* GRE at `at`: the call of PPTP's version tells connections apart. -1: there is no connection of such a packet. */
static __always_inline int ct_gre(struct __sk_buff *skb, struct bt_ctx *x, __u32 at)
{
	__u8 h[8];

	if (bpf_skb_load_bytes(skb, at, h, sizeof(h)) || (h[1] & 7) != 1)
		return 0;
	if (h[2] != 0x88 || h[3] != 0x0b)
		return -1;
	__builtin_memcpy(&x->t.dport, h + 6, 2);
	return 0;
}

#define L4_UNTRACKED 2
#if BT_FAMILY == 6
#include "ct6.h"
#endif

/* Reads the L4 header into scratch: offsets, ports of `t`, TCP's numbers and options. 0: may be tracked, 1: an ICMP error,
 * L4_UNTRACKED: never tracked (neighbour discovery), -1: INVALID. Checksums are checked at PREROUTING, as nf_conntrack_checksum says. */
__noinline int bt_ct_l4(struct __sk_buff *skb)
{
	struct bt_control *ctl = control();
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 total, len, plen, first;
	__u8 h[20] __attribute__((aligned(4)));
	bool sums;

	if (!p || !x || !ctl)
		return -1;
	x->l4off = (__u32)p->l2len + p->ihl;
	total = skb->len - p->l2len;
	if (p->len && p->len < total)
		total = p->len;
	if (total < p->ihl || (BT_FAMILY == 6 && (p->flags & P_BAD_EXT || p->proto == 59)))
		return -1;
	len = total - p->ihl;
	x->l4len = len;
	first = p->flags & P_MORE;
	sums = ctl->checksum && p->hook == H_PRE && !first;
	x->t.sport = x->t.dport = 0;
	x->tflags = 0;
	switch (p->proto) {
	case IPPROTO_TCP:
		if (len < 20 || peek(skb, x->l4off, h, 5))
			return -1;
		x->doff = (h[12] >> 4) * 4;
		if (x->doff < 20 || x->doff > len)
			return -1;
		if (!tcp_flags_valid(h[13]))
			return -1;
		if (sums && !bt_sum_ok(skb, len, len))
			return -1;
		x->tflags = h[13];
		x->seq = get_be32(h + 4);
		x->ack = get_be32(h + 8);
		x->win = (__u32)h[14] << 8 | h[15];
		x->end = x->seq + len - x->doff + !!(h[13] & TF_SYN) + !!(h[13] & TF_FIN);
		bt_tcp_options(skb);
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		if (len < 8 || peek(skb, x->l4off, h, 2))
			return -1;
		plen = (__u32)h[4] << 8 | h[5];
		if (p->proto == IPPROTO_UDP) {
			if (!first && (plen > len || plen < 8))
				return -1;
			/* What lies behind the datagram's own length is summed, too. */
			if (sums && (h[6] | h[7]) && !bt_sum_ok(skb, len, len))
				return -1;
		} else if (!first) {
			/* Here the length says how much is summed; a sum there must be. */
			if (!plen)
				plen = len;
			if (plen < 8 || plen > len || !(h[6] | h[7]))
				return -1;
			if (sums && !bt_sum_ok(skb, plen, len))
				return -1;
		}
		break;
	case IPPROTO_GRE:
		return len < 8 ? 0 : ct_gre(skb, x, x->l4off);
	case IPPROTO_SCTP:
		if (len < 12 || bpf_skb_load_bytes(skb, x->l4off, h, 12))
			return -1;
		if (sums && skb_summed(skb) == SUM_NONE && !bt_sctp_sum_ok(skb))
			return -1;
		if (!bt_sctp_look(skb))
			return -1;
		__builtin_memcpy(&x->seq, h + 4, 4); /* verification tag, as it stands there */
		break;
	case BT_ICMP:
		if (len < 8 || peek(skb, x->l4off, h, 2))
			return -1;
#if BT_FAMILY == 6
		if (sums && !bt_sum_ok(skb, len, len))
			return -1;
		x->icmp_type = h[0];
		x->icmp_code = h[1];
		if (icmp6_untracked(h[0]))
			return L4_UNTRACKED;
		if (h[0] < 128 || h[0] == BT_ICMP_REDIRECT)
			return 1;
#else
		if (h[0] > 18)
			return -1;
		if (sums && !bt_sum_ok(skb, len, 0))
			return -1;
		x->icmp_type = h[0];
		x->icmp_code = h[1];
		if (h[0] == 3 || h[0] == 4 || h[0] == 5 || h[0] == 11 || h[0] == 12)
			return 1;
#endif
		if (icmp_partner(h[0]) == 255)
			return -1;
		__builtin_memcpy(&x->t.sport, h + 4, 2);
		x->t.dport = (__u16)h[0] << 8 | h[1];
		return 0;
	default:
		return 0;
	}
	__builtin_memcpy(&x->t.sport, h, 2);
	__builtin_memcpy(&x->t.dport, h + 2, 2);
	return 0;
}
