/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m addrtype` of IPv6, as xt_addrtype's match_type6: types that the form of an address tells must all hold; of those that the
 * routes tell, one. UNREACHABLE is refused by the compiler: no lookup at tcx tells it. Included by ops_addr.h. */
#pragma once

#define RTN_ANYCAST 4
#define TYPE_UNSPEC (1u << 0)
#define TYPE_UNICAST (1u << 1)
#define TYPE_LOCAL (1u << RTN_LOCAL)
#define TYPE_ANYCAST (1u << RTN_ANYCAST)
#define TYPE_MULTICAST (1u << 5)

/* ::ffff:0:0/96 is no unicast to the kernel. */
static __always_inline bool addr_is_unicast(bt_addr a)
{
	bool mapped = !(a.w[0] | a.w[1]) && a.w[2] == bpf_htonl(0xffff);

	return !addr_is_none(a) && !addr_is_multicast(a) && !mapped;
}

/* RTN_* of the local table: RTN_LOCAL, RTN_ANYCAST, 0: it does not hold the address. */
static __always_inline __u32 addr_local(bt_addr a, __u32 dev)
{
	struct bt_addr_key key = { .len = 128, .addr = a };
	struct bt_addr_info *at = bpf_map_lookup_elem(&bt_addrs, &key);

	return at && (!dev || at->ifindex == dev) ? at->kind : 0;
}

/* By what devices have now as well. */
static __always_inline bool addr_is_now(struct __sk_buff *skb, bt_addr a, __u32 types, __u32 dev)
{
	struct bt_pkt *p = pkt();
	__u32 kind;

	if (!p)
		return false;
	if (types & TYPE_MULTICAST && !addr_is_multicast(a))
		return false;
	if (types & TYPE_UNICAST && !addr_is_unicast(a))
		return false;
	if (types & TYPE_UNSPEC && !addr_is_none(a))
		return false;
	if (!(types & (TYPE_LOCAL | TYPE_ANYCAST)))
		return true;
	kind = addr_local(a, dev);
	p->sought = a;
	if (!kind && own_addr(skb, dev))
		kind = RTN_LOCAL;
	return (kind == RTN_LOCAL && types & TYPE_LOCAL) || (kind == RTN_ANYCAST && types & TYPE_ANYCAST);
}
