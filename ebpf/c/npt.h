/* SPDX-License-Identifier: GPL-2.0-only */
/* -j SNPT and -j DNPT: one prefix of IPv6 for another (RFC 6296). A word behind it takes up what the sums differ by, so no checksum changes. */
#pragma once

#include "bt.h"
#include "icmp.h"
#include "ops_arg.h"

#if BT_FAMILY == 6

/* Ones' complement. */
static __always_inline __u32 npt_add(__u32 a, __u32 b)
{
	return sum_fold(a + b);
}

/* The address under its new prefix; false: no word of it can take up the difference. */
static __always_inline bool npt_map(const struct bt_npt_params *n, bt_addr *a)
{
	__u32 sum, word = 3;

	for (int i = 0; i < 2; i++)
		a->w[i] = (a->w[i] & ~n->mask[i]) | (n->to.w[i] & n->mask[i]);
	if (n->bits > 48) {
		for (word = 4; word < 8; word++)
			if (((__u16 *)a)[word & 7] != 0xffff)
				break;
		if (word == 8)
			return false;
	}
	sum = npt_add(((__u16 *)a)[word & 7], n->adjust);
	((__u16 *)a)[word & 7] = sum == 0xffff ? 0 : sum;
	return true;
}

/* `at`: line of struct bt_npt_params; dst: DNPT. */
__noinline int bt_target_npt(struct __sk_buff *skb, __u32 at, __u32 dst)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_npt_params *n;
	bt_addr addr, quoted;
	__u32 off;
	void *img;

	if (!p)
		return -1;
	img = image(p->slot);
	n = img ? line(img, at) : NULL;
	if (!n)
		return -1;
	addr = dst ? p->daddr : p->saddr;
	if (!npt_map(n, &addr))
		return -1;
	/* The prefixes' sums differ by what the word was changed by: a checksum of the device stays right. */
	if (bpf_skb_store_bytes(skb, p->l2len + (dst ? 24 : 8), &addr, sizeof(addr), 0))
		return -1;
	if (dst) {
		p->daddr = addr;
		p->flags |= P_MOVED;
	} else {
		p->saddr = addr;
	}
	/* What an error quotes went the other way. An error behind extension headers is not looked at. */
	if (p->proto != BT_ICMP || p->ihl != 40 || p->icmp_type < 1 || p->icmp_type > 4 || p->frag_off)
		return 0;
	off = (__u32)p->l2len + 40 + 8;
	if (off + 40 > skb->len)
		return 0;
	off += dst ? 8 : 24;
	if (bpf_skb_load_bytes(skb, off, &quoted, sizeof(quoted)))
		return 0;
	if (!addr_eq(addr_and(quoted, n->from_mask), n->from) || !npt_map(n, &quoted))
		return 0;
	return bpf_skb_store_bytes(skb, off, &quoted, sizeof(quoted), 0) ? -1 : 0;
}

#endif
