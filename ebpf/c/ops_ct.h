/* SPDX-License-Identifier: GPL-2.0-only */
/* What `-m conntrack` asks beyond the state. Only for packets with a connection. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

__noinline int bt_op_ct(struct __sk_buff *skb, __u32 what, __u32 how, __u32 b, __u32 c)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct bt_conn *ct;
	struct bt_tuple *tuple;
	__u32 a = how >> 16;
	bool holds = false;

	if (!p)
		return -1;
	ct = bt_conn_of(p);
	if (!ct)
		return 0;
	tuple = a & 2 ? &ct->reply : &ct->orig;
	switch (what) {
	case OP_CT_PROTO:
		holds = ct->orig.proto == b;
		break;
	case OP_CT_ADDR: {
#if BT_FAMILY == 6
		struct bt_line *l = NULL;
		void *img = image(p->slot);
		bt_addr want, mask;
		if (img)
			l = line(img, b);
		if (!l)
			return -1;
		__builtin_memcpy(&want, &l->w[0], 16);
		__builtin_memcpy(&mask, &l->w[4], 16);
		holds = addr_eq(addr_and(a & 1 ? tuple->daddr : tuple->saddr, mask), want);
#else
		holds = (((a & 1 ? tuple->daddr : tuple->saddr) ^ b) & c) == 0;
#endif
		break;
	}
	case OP_CT_PORT: {
		/* Legacy compares the tuple's 16 bits in network order whatever they mean: ICMP's "destination port" is type and code. */
		__u32 port = a & 1 ? tuple->dport : tuple->sport;
		if (!(tuple->proto == BT_ICMP && (a & 1)))
			port = bpf_ntohs(port);
		holds = port >= (b & 0xffff) && port <= b >> 16;
		break;
	}
	case OP_CT_STATUS:
		holds = (ct->status & a) != 0;
		break;
	case OP_CT_EXPIRES: {
		__u64 now = ct_now(), left = 0;
		__u32 status = ct->status;
		if (status & ST_CONFIRMED && !(status & ST_LIVE))
			left = CT_TIMEOUT(ct); /* a RST was the first answer and ended it: the kernel lets its time stand */
		else if (status & ST_CONFIRMED && ct->expires > now)
			/* The kernel counts in ticks: what was set in this one is whole. */
			left = (ct->expires - now + 4000000) / 1000000000ULL;
		holds = left >= b && left <= c;
		break;
	}
	case OP_CT_DIR:
		holds = (p->ctdir == DIR_ORIG) == (b != 0);
		break;
	}
	return holds != (how & OPF_INVERT);
}
