/* SPDX-License-Identifier: GPL-2.0-only */
/* ICMPv6 errors, as the kernel's icmp6_send makes them. Included by icmp.h. */
#pragma once

/* "Never answer to an ICMP packet" but informational ones; a fragment that does not show its type counts as one. */
static __always_inline bool icmp6_ineligible(struct __sk_buff *skb, const struct bt_pkt *p, const struct bt_answer *a)
{
	__u8 type;

	if (p->proto != BT_ICMP || p->flags & P_BAD_EXT)
		return false;
	if (a->frag & 0x1fff)
		return false;
	if (!answer_l4_bytes(p) || bpf_skb_load_bytes(skb, answer_l4_at(p), &type, 1))
		return !(a->frag & 0x2000);
	return !(type & 0x80);
}

/* Answers the packet with an ICMPv6 error: `info` (network byte order) is the second word of the ICMPv6 header. answer_begin() was
 * called. Returns tc's action, BT_DROP where nothing may be sent. */
__noinline int bt_icmp_error(struct __sk_buff *skb, __u32 type, __u32 code, __u32 info)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_answer *a = answer();
	struct bt_icmp_conf *conf = icmp_conf();

	if (!p || !a || type > 31)
		return BT_DROP;
	if (addressed_to(skb, p) || addr_is_multicast(a->from_daddr) || addr_is_none(a->from_saddr) || addr_is_multicast(a->from_saddr) ||
	    icmp6_ineligible(skb, p, a))
		return BT_DROP;
	bool limited = (conf ? conf->ratemask : ~4u) >> type & 1;
	bool global = limited && !(p->hook == H_IN && by_loopback(skb, p));
	if (global && !icmp_global())
		return BT_DROP;
	a->saddr = (p->hook == H_IN && !p->assigned) || addr_local(a->from_daddr, 0) ? a->from_daddr : ADDR_NONE;
	a->proto = BT_ICMP;
	a->tos = 0;
	if (answer_route(skb, p, a) < 0)
		return BT_DROP;
	/* Wider prefixes may have more: a neighbour is in one of 64 bits, the rest by a default route. */
	if (limited && !a->local && !icmp_peer(a->from_saddr, a->gateway ? 4 : 2))
		return BT_DROP;
	if (global)
		icmp_consume();

	__u32 quoted = p->len;
	if (quoted > ANSWER_ICMP_MAX - 48)
		quoted = ANSWER_ICMP_MAX - 48;
	*(__u32 *)(a->buf + 48 + (quoted & 0x7fc)) = 0;
	if (bpf_skb_load_bytes(skb, p->l2len, a->buf + 48, length(quoted, ANSWER_MASK)))
		return BT_DROP;
	answer_ip_header(a, (struct answer_ip *)a->buf, quoted + 48);
	__u32 *icmp = (__u32 *)(a->buf + 40);
	icmp[0] = bpf_htonl(type << 24 | code << 16);
	icmp[1] = info;
	__u32 sum = answer_pseudo(a->saddr, a->from_saddr, BT_ICMP, quoted + 8);
	/* 512 bytes are summed at most in one go. */
	__u32 left = (quoted + 8 + 3) & ~3U;
	for (__u32 at = 0; at < 3 * 512; at += 512) {
		__u32 size = left > 512 ? 512 : left;
		if (!size)
			break;
		sum = bpf_csum_diff(NULL, 0, (__u32 *)(a->buf + 40 + at), length(size, 511), sum);
		left -= size;
	}
	*(__u16 *)(a->buf + 42) = ~answer_fold(sum);
	return bt_answer_send(skb, quoted + 48);
}
