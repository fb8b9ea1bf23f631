/* SPDX-License-Identifier: GPL-2.0-only */
#pragma once

#include "bt.h"
#include "ops_arg.h"
#include "own_addr.h"

#if BT_FAMILY == 6
#include "ops_addr6.h"
#else
/* The local table's view of an address, as inet_addr_type and inet_dev_addr_type: dev 0 is any device. Route types that make a
 * lookup fail (unreachable, prohibit, blackhole, throw) give UNICAST there. */
static __always_inline __u32 addr_type(__u32 addr, __u32 dev)
{
	__u32 host = bpf_ntohl(addr);
	if (host == 0 || host == 0xffffffff)
		return 3; /* RTN_BROADCAST */
	if ((host >> 28) == 0xe)
		return 5; /* RTN_MULTICAST */
	struct bt_addr_key key = { .len = 32, .addr = addr };
	struct bt_addr_info *at = bpf_map_lookup_elem(&bt_addrs, &key);
	if (!at || (dev && at->ifindex != dev) || at->kind == 0 || at->kind > 5)
		return 1; /* RTN_UNICAST */
	return at->kind;
}

static __always_inline bool addr_is(__u32 addr, __u32 types, __u32 dev)
{
	return types >> (addr_type(addr, dev) & 15) & 1;
}

/* As addr_is, and by what devices have now. */
static __always_inline bool addr_is_now(struct __sk_buff *skb, __u32 addr, __u32 types, __u32 dev)
{
	__u32 type = addr_type(addr, dev);

	if (type == 1)
		type = own_addr(skb, addr, dev) ?: type;
	return types >> (type & 15) & 1;
}
#endif

__noinline int bt_op_addrtype(struct __sk_buff *skb, __u32 how, __u32 dst)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 src = how >> 16, dev = 0;
	if (!p)
		return -1;
	if (how & OPF_ADDRTYPE_LIMIT_IN)
		dev = p->ifin;
	else if (how & OPF_ADDRTYPE_LIMIT_OUT)
		dev = p->ifout;
	if (src && addr_is_now(skb, p->saddr, src, dev) == !!(how & OPF_ADDRTYPE_INV_SRC))
		return 0;
	if (dst && addr_is_now(skb, p->daddr, dst, dev) == !!(how & OPF_ADDRTYPE_INV_DST))
		return 0;
	return 1;
}
