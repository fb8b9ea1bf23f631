/* SPDX-License-Identifier: GPL-2.0-only */
/* Network address translation: decided once a connection and kind, at its first packet, then applied to every packet.
 *
 * A reply tuple is claimed in the connection table by an insert that fails if it is taken, so no two connections can get one.
 * Addresses of devices are read where the kernel keeps them, so no mirror of them can be stale.
 *
 * Differs from legacy: the ports of a fragmented SCTP
 * packet are not rewritten (its CRC needs the whole length): it is dropped with STAT_DROP_REWRITE. */
#pragma once

#include "ct_table.h"
#include "ct_check.h"
#include "nat_sctp.h"

struct in_ifaddr___ct {
	struct in_ifaddr___ct *ifa_next;
	__u32 ifa_local, ifa_mask, ifa_flags;
	__u8 ifa_scope;
} __attribute__((preserve_access_index));
struct in_device___ct {
	struct in_ifaddr___ct *ifa_list;
} __attribute__((preserve_access_index));
struct hlist_node___ct {
	struct hlist_node___ct *next;
} __attribute__((preserve_access_index));
struct hlist_head___ct {
	struct hlist_node___ct *first;
} __attribute__((preserve_access_index));
struct net___ct {
	struct hlist_head___ct *dev_index_head;
} __attribute__((preserve_access_index));
typedef struct {
	struct net___ct *net;
} __attribute__((preserve_access_index)) possible_net_t___ct;
struct net_device___ct {
	int ifindex;
	possible_net_t___ct nd_net;
	struct hlist_node___ct index_hlist;
	struct in_device___ct *ip_ptr;
} __attribute__((preserve_access_index));
struct dst_entry___ct {
	struct net_device___ct *dev;
	__u16 flags;
} __attribute__((preserve_access_index));
struct rtable___ct {
	struct dst_entry___ct dst;
	__u8 rt_gw_family;
	__u32 rt_gw4;
} __attribute__((preserve_access_index));
struct sk_buff___nat {
	struct net_device___ct *dev;
	unsigned long _skb_refdst;
} __attribute__((preserve_access_index));

#define IFA_SECONDARY 1
#define DST_METADATA_FLAG 0x80
#define MAX_DEV_ADDRS 64
#define DEV_BUCKETS 256 /* of the kernel's table of devices by index */
#define MAX_DEV_BUCKET 512

static __always_inline bool proto_has_ports(__u32 proto)
{
	return proto == IPPROTO_TCP || proto == IPPROTO_UDP || proto == IPPROTO_UDPLITE || proto == IPPROTO_SCTP;
}

/* The first address of the skb's device, 0 if it has none: REDIRECT's. */
__noinline __u32 bt_nat_dev_first(struct __sk_buff *skb)
{
	struct sk_buff___nat *k = (void *)skb;
	struct in_ifaddr___ct *ifa = BPF_CORE_READ(k, dev, ip_ptr, ifa_list);

	return ifa ? BPF_CORE_READ(ifa, ifa_local) : 0;
}

/* The device with this index in the skb's namespace: its own, or another that the packet is about to be sent to. */
static __always_inline struct net_device___ct *dev_of(struct __sk_buff *skb, __u32 ifindex)
{
	struct sk_buff___nat *k = (void *)skb;
	struct net_device___ct *dev = BPF_CORE_READ(k, dev);
	struct hlist_head___ct *heads;
	struct hlist_node___ct *n;
	__u32 i;

	if (BPF_CORE_READ(dev, ifindex) == ifindex)
		return dev;
	heads = BPF_CORE_READ(dev, nd_net.net, dev_index_head);
	n = BPF_CORE_READ(&heads[ifindex & (DEV_BUCKETS - 1)], first);
	for (i = 0; i < MAX_DEV_BUCKET && n; i++) {
		dev = (void *)n - bpf_core_field_offset(struct net_device___ct, index_hlist);
		if (BPF_CORE_READ(dev, ifindex) == ifindex)
			return dev;
		n = BPF_CORE_READ(n, next);
	}
	return NULL;
}

/* MASQUERADE's address: of the out device, a primary one of global scope, one whose network holds the next hop if there is one. */
__noinline __u32 bt_nat_masq(struct __sk_buff *skb)
{
	struct sk_buff___nat *k = (void *)skb;
	struct net_device___ct *dev;
	struct bpf_fib_lookup fib = {};
	struct in_ifaddr___ct *ifa;
	struct rtable___ct *rt;
	struct bt_pkt *p = pkt();
	__u32 hop, addr = 0, local, i;

	if (!p)
		return 0;
	dev = dev_of(skb, p->ifout);
	if (!dev)
		return 0;
	hop = p->daddr;
	rt = (void *)(BPF_CORE_READ(k, _skb_refdst) & ~1UL);
	if (rt && BPF_CORE_READ(rt, dst.dev) == dev && !(BPF_CORE_READ(rt, dst.flags) & DST_METADATA_FLAG)) {
		if (BPF_CORE_READ(rt, rt_gw_family) == 2)
			hop = BPF_CORE_READ(rt, rt_gw4);
	} else {
		fib.family = 2;
		fib.ipv4_dst = p->daddr;
		fib.ifindex = p->ifout;
		i = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SKIP_NEIGH);
		if (i == BPF_FIB_LKUP_RET_SUCCESS && fib.ifindex == p->ifout)
			hop = fib.ipv4_dst;
	}
	ifa = BPF_CORE_READ(dev, ip_ptr, ifa_list);
	for (i = 0; i < MAX_DEV_ADDRS && ifa; i++) {
		if (!(BPF_CORE_READ(ifa, ifa_flags) & IFA_SECONDARY) && BPF_CORE_READ(ifa, ifa_scope) == 0) {
			local = BPF_CORE_READ(ifa, ifa_local);
			if (!((local ^ hop) & BPF_CORE_READ(ifa, ifa_mask)))
				return local;
			if (!addr)
				addr = local;
		}
		ifa = BPF_CORE_READ(ifa, ifa_next);
	}
	if (addr)
		return addr;
	/* A device without an address borrows one, as the kernel's source selection does. */
	__builtin_memset(&fib, 0, sizeof(fib));
	fib.family = 2;
	fib.ipv4_dst = p->daddr;
	fib.ifindex = p->ifout;
	i = bpf_fib_lookup(skb, &fib, sizeof(fib), BPF_FIB_LOOKUP_OUTPUT | BPF_FIB_LOOKUP_SKIP_NEIGH | BPF_FIB_LOOKUP_SRC);
	return i == BPF_FIB_LKUP_RET_SUCCESS ? fib.ipv4_src : 0;
}

/* Whether scratch `u` is free for connection n_conn; for MANIP_SRC, claims it. 1: free (and ours). */
__noinline int bt_nat_try(__u32 unused)
{
	struct bt_ctx *x = ctx_();
	struct bt_tuple k;
	struct bt_conn *c;
	__u32 *v, turn;

	ARG_USED(unused);
	if (!x)
		return 0;
	c = bt_conn_at(x->n_conn);
	if (!c)
		return 0;
	tuple_invert(&k, &x->u);
	for (turn = 0; turn < 2; turn++) {
		if (x->n_manip == MANIP_SRC && !key_claim_reply(c, &k, x->n_conn))
			return 1;
		v = bpf_map_lookup_elem(&bt_tuples, &k);
		if (!v) {
			if (x->n_manip == MANIP_DST)
				return 1;
			continue;
		}
		if (*v >> 1 == x->n_conn)
			return 1;
		x->t = k;
		if (bt_ct_lookup(0) || bpf_map_lookup_elem(&bt_tuples, &k))
			return 0; /* alive */
	}
	return 0;
}

/* The last tries for a TCP port end a translated connection that is over (TIME_WAIT or later) if the new one's sequence numbers have
 * gone past its own. 1: it made room. */
__noinline int bt_nat_take_over(__u32 unused)
{
	struct bt_ctx *x = ctx_();
	struct bt_conn *c, *o;
	struct bt_tuple k;
	__u32 *v, val;

	ARG_USED(unused);
	if (!x || x->u.proto != IPPROTO_TCP)
		return 0;
	tuple_invert(&k, &x->u);
	v = bpf_map_lookup_elem(&bt_tuples, &k);
	if (!v)
		return 1;
	val = *v;
	if (!(val & 1) || val >> 1 == x->n_conn)
		return 0;
	c = bt_conn_at(x->n_conn);
	o = bt_conn_at(val >> 1);
	if (!c || !o || o->tcp_state < tTW || !(o->status & ST_SRC_NAT) || !(o->status & ST_LIVE))
		return 0;
	if ((__s32)(c->side[0].end - o->side[0].end) <= 0)
		return 0;
	return bt_ct_reap(val >> 1);
}

static __always_inline void nat_set_part(struct bt_ctx *x, __u32 port)
{
	if (x->n_src)
		x->u.sport = bpf_htons(port);
	else
		x->u.dport = bpf_htons(port);
}

/* Windows of tries that shrink by half, each from a new random start, so that a full range does not cost a full search. */
static long nat_port_cb(__u32 n, void *data)
{
	struct bt_ctx *x = ctx_();

	if (!x || !x->n_range)
		return 1;
	if (n == x->n_end) {
		if (x->n_span >= x->n_range || x->n_span < 16)
			return 1;
		x->n_span /= 2;
		x->n_end = n + x->n_span;
		x->n_off = bpf_get_prandom_u32() & 0xffff;
	}
	nat_set_part(x, x->n_min + (x->n_off & 0xffff) % x->n_range);
	x->n_off++;
	if (bt_nat_try(0) || (x->n_end - n <= 16 && bt_nat_take_over(0) && bt_nat_try(0))) {
		x->n_found = 1;
		return 1;
	}
	return 0;
}

static __always_inline __u32 nat_part(const struct bt_ctx *x, bool src)
{
	return bpf_ntohs(src ? x->u.sport : x->u.dport);
}

/* Whether the part that may change is in the asked ports. */
static __always_inline bool nat_part_fits(const struct bt_ctx *x, __u32 manip)
{
	__u32 v;

	if (x->u.proto == IPPROTO_ICMP)
		v = nat_part(x, true);
	else if (proto_has_ports(x->u.proto))
		v = nat_part(x, manip == MANIP_SRC);
	else
		return true;
	return v >= x->r.port_lo && v <= x->r.port_hi;
}

/* The last source translation of each source, so that a source keeps its mapping towards several destinations. */
struct bt_nat_src_key {
	__u32 saddr;
	__u16 sport;
	__u8 proto, pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct bt_nat_src_key);
	__type(value, __u32);
} bt_nat_srcs SEC(".maps");

/* Takes the mapping that this source has in another connection into `u`. */
static __always_inline bool nat_known_src(struct bt_ctx *x, const struct bt_tuple *cur)
{
	struct bt_nat_src_key k = { .saddr = cur->saddr, .sport = cur->sport, .proto = cur->proto };
	struct bt_conn *o;
	__u32 *v;

	v = bpf_map_lookup_elem(&bt_nat_srcs, &k);
	if (!v)
		return false;
	o = bt_conn_at(*v);
	if (!o || !(o->status & ST_LIVE) || ct_dead(o, x->now) || !(o->status & ST_SRC_NAT) || o->orig.saddr != k.saddr ||
	    o->orig.sport != k.sport || o->orig.proto != k.proto)
		return false;
	x->u.saddr = o->reply.daddr;
	x->u.sport = k.proto == IPPROTO_ICMP ? o->reply.sport : o->reply.dport;
	return true;
}

static __always_inline bool nat_addr_fits(const struct bt_ctx *x)
{
	__u32 a = bpf_ntohl(x->u.saddr);

	return !(x->r.flags & NAT_MAP_IPS) || (a >= bpf_ntohl(x->r.min) && a <= bpf_ntohl(x->r.max));
}

/* Scratch `r` on scratch `u`, the tuple as it is: leaves the new one in `u`, claimed if it is a source translation.
 * 1, or 0: none is free. Netfilter's order: keep it if it fits, the source's other mapping, an address by hash, then ports. */
__noinline int bt_nat_unique(__u32 manip)
{
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	struct bt_tuple cur;
	__u32 flags, j, lo, span, part, max;
	bool random;

	if (!x || !ctl)
		return 0;
	cur = x->u;
	flags = x->r.flags;
	random = flags & (NAT_PROTO_RANDOM | NAT_PROTO_RANDOM_FULLY);
	if (manip == MANIP_SRC && !random) {
		if (nat_addr_fits(x) && (!(flags & NAT_PROTO_SPECIFIED) || nat_part_fits(x, MANIP_SRC))) {
			if (bt_nat_try(0))
				return 1;
		} else if (nat_known_src(x, &cur) && nat_addr_fits(x) &&
			   (!(flags & NAT_PROTO_SPECIFIED) || nat_part_fits(x, MANIP_SRC))) {
			if (bt_nat_try(0))
				return 1;
		}
		x->u = cur;
	}
	if (flags & NAT_MAP_IPS) {
		lo = bpf_ntohl(x->r.min);
		span = bpf_ntohl(x->r.max) - lo + 1;
		j = lo;
		if (span != 1)
			j += ((bt_hash((__u64)cur.saddr << 32 | (flags & NAT_PERSISTENT ? 0 : cur.daddr), ctl->seed) >> 32) * span) >> 32;
		if (manip == MANIP_SRC)
			x->u.saddr = bpf_htonl(j);
		else
			x->u.daddr = bpf_htonl(j);
	}
	if (!random) {
		if (flags & NAT_PROTO_SPECIFIED) {
			if (!(flags & NAT_PROTO_OFFSET) && nat_part_fits(x, manip)) {
				if (bt_nat_try(0))
					return 1;
				if (x->r.port_lo == x->r.port_hi)
					return manip == MANIP_DST; /* nothing to choose; the source side will resolve it */
			}
		} else if (bt_nat_try(0)) {
			return 1;
		}
	}
	x->n_src = manip == MANIP_SRC || x->u.proto == IPPROTO_ICMP;
	part = nat_part(x, x->n_src);
	if (!proto_has_ports(x->u.proto) && x->u.proto != IPPROTO_ICMP)
		return manip == MANIP_DST || bt_nat_try(0);
	if (flags & NAT_PROTO_SPECIFIED) {
		lo = x->r.port_lo;
		max = x->r.port_hi;
		if (max < lo) {
			lo = max;
			max = x->r.port_lo;
		}
	} else if (x->u.proto == IPPROTO_ICMP) {
		lo = 0;
		max = 65535;
	} else if (manip == MANIP_DST) {
		return 1;
	} else if (part < 512) {
		lo = 1;
		max = 511;
	} else if (part < 1024) {
		lo = 600;
		max = 1023;
	} else {
		lo = 1024;
		max = 65535;
	}
	x->n_min = lo;
	x->n_range = max - lo + 1;
	if (flags & NAT_PROTO_OFFSET)
		x->n_off = part - x->r.base;
	else if (random || manip == MANIP_SRC)
		x->n_off = bpf_get_prandom_u32() & 0xffff;
	else
		x->n_off = 0;
	x->n_span = x->n_range > 128 ? 128 : x->n_range;
	x->n_end = x->n_span;
	x->n_found = 0;
	bpf_loop(256, nat_port_cb, NULL, 0);
	return x->n_found || manip == MANIP_DST;
}

/* The range that the packet's nat target asks for, into scratch `r`. 1, or 0: there is no address to give. */
static __always_inline int nat_range(struct __sk_buff *skb, const struct bt_pkt *p, struct bt_ctx *x, __u32 manip)
{
	__u32 addr;

	x->r = p->nat;
	switch (p->nat_target) {
	case TG_NONE:
		x->r.flags = NAT_MAP_IPS;
		x->r.min = x->r.max = manip == MANIP_SRC ? x->u.saddr : x->u.daddr;
		return 1;
	case TG_NETMAP:
		addr = manip == MANIP_SRC ? p->saddr : p->daddr;
		addr = (addr & ~p->nat.max) | (p->nat.min & p->nat.max);
		x->r.flags = (x->r.flags & ~NAT_PROTO_SPECIFIED) | NAT_MAP_IPS;
		break;
	case TG_MASQUERADE:
		addr = bt_nat_masq(skb);
		x->r.flags |= NAT_MAP_IPS;
		break;
	case TG_REDIRECT:
		addr = p->hook == H_OUT ? bpf_htonl(0x7f000001) : bt_nat_dev_first(skb);
		x->r.flags |= NAT_MAP_IPS;
		break;
	default:
		return 1;
	}
	x->r.min = x->r.max = addr;
	return addr != 0;
}

/* After the nat chain of this kind ran for a connection's first packet: decides the translation by p->nat_target and p->nat.
 * 0 or -STAT_DROP_NAT_EXHAUSTED. */
__noinline int bt_nat_decide(struct __sk_buff *skb, __u32 manip)
{
	__u32 done = manip == MANIP_SRC ? ST_SRC_NAT_DONE : ST_DST_NAT_DONE;
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	struct bt_nat_src_key sk = {};
	struct bt_tuple cur, mid;
	struct bt_conn *c;
	__u32 i, set = done, val, old;
	int r = 0;

	if (!p || !x || !p->ct || (p->ctinfo != CI_NEW && p->ctinfo != CI_RELATED))
		return 0;
	i = p->ct - 1;
	c = bt_conn_at(i);
	if (!c || (c->status & (done | ST_CONFIRMED)) || !(c->status & ST_LIVE))
		return 0;
	if (!ct_lock(c, i))
		return -STAT_DROP_NAT_EXHAUSTED;
	if (c->status & (done | ST_CONFIRMED))
		goto out;
	x->now = bpf_ktime_get_ns();
	x->n_conn = i;
	x->n_manip = manip;
	tuple_invert(&cur, &c->reply);
	x->u = cur;
	if (!nat_range(skb, p, x, manip) || !bt_nat_unique(manip)) {
		r = -STAT_DROP_NAT_EXHAUSTED;
		goto out;
	}
	if (!tuple_eq(&cur, &x->u)) {
		set |= manip == MANIP_SRC ? ST_SRC_NAT : ST_DST_NAT;
		mid = c->reply;
		tuple_invert(&c->reply, &x->u);
		if (manip == MANIP_DST) {
			/* Taken early so that FORWARD finds the packet; if another has it, the source's turn resolves that. */
			key_claim_reply(c, &c->reply, i);
		} else if (c->status & ST_DST_NAT) {
			key_delete(&mid, i << 1 | 1, 0);
		}
	}
	if (p->nat_target == TG_MASQUERADE)
		c->masq_ifindex = p->ifout;
	if (manip == MANIP_DST && p->nat_target != TG_NONE)
		c->dnat_slot = p->nat_slot;
	if (manip == MANIP_SRC && (set & ST_SRC_NAT)) {
		if (c->status & ST_DST_NAT) {
			mid_tuple(&mid, c);
			mid.pad[0] = KEY_MID;
			val = i << 1;
			if (!bpf_map_update_elem(&bt_tuples, &mid, &val, BPF_NOEXIST))
				set |= ST_KEY_MID;
		}
		sk.saddr = c->orig.saddr;
		sk.sport = c->orig.sport;
		sk.proto = c->orig.proto;
		bpf_map_update_elem(&bt_nat_srcs, &sk, &i, BPF_ANY);
	}
	old = __sync_fetch_and_or(&c->status, set);
	if (!(old & ST_LIVE) || (old & ST_REAPED))
		key_delete(&c->reply, i << 1 | 1, 0);
out:
	ct_unlock(c);
	return r;
}

/* Adds to a checksum field's complement the change from one word to another. */
static __always_inline __u16 sum_change(__u16 field, __u32 from, __u32 to)
{
	__u64 s = (__u16)~field;

	s += (__u64)(__u32)~from + to;
	s = (s & 0xffffffff) + (s >> 32);
	s = (s & 0xffffffff) + (s >> 32);
	return ~sum_fold(s);
}

/* Writes `to` over `from` (2 or 4 bytes) inside an ICMP message, keeping the message's own checksum right. */
static __always_inline int icmp_put(struct __sk_buff *skb, __u32 sum_at, __u32 at, __u32 from, __u32 to, __u32 size)
{
	__u16 half = to;

	if (from == to)
		return 0;
	if (size == 2) {
		if (bpf_skb_store_bytes(skb, at, &half, 2, 0))
			return -1;
	} else if (bpf_skb_store_bytes(skb, at, &to, 4, 0)) {
		return -1;
	}
	/* At an odd offset the bytes would count the other way round; IP and L4 headers are never at one. */
	return bpf_l4_csum_replace(skb, sum_at, from, to, size) ? -1 : 0;
}

/* Rewrites the packet inside an ICMP error: its source (`src`) or destination to addr, port. */
__noinline int bt_nat_inner(struct __sk_buff *skb, __u32 src, __u32 addr, __u32 port)
{
	struct bt_ctx *x = ctx_();
	struct bt_pkt *p = pkt();
	__u32 at, l4, ihl, old, sum_at, csum_at = 0, pport = 0;
	__u16 sum, nsum, oport = 0;
	__u8 ip[20];

	if (!x || !p)
		return -1;
	sum_at = (__u32)p->l2len + p->ihl + 2;
	at = sum_at + 6;
	if (bpf_skb_load_bytes(skb, at, ip, sizeof(ip)))
		return -1;
	ihl = (ip[0] & 15) * 4;
	if (ihl < 20)
		return -1;
	l4 = at + ihl;
	if (src)
		__builtin_memcpy(&old, ip + 12, 4);
	else
		__builtin_memcpy(&old, ip + 16, 4);
	__builtin_memcpy(&sum, ip + 10, 2);
	nsum = sum_change(sum, old, addr);

	switch (ip[9]) {
	case IPPROTO_TCP:
		csum_at = 16;
		pport = src ? 0 : 2;
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		csum_at = 6;
		pport = src ? 0 : 2;
		break;
	case IPPROTO_ICMP:
		csum_at = 2;
		pport = 4;
		break;
	case IPPROTO_SCTP:
		pport = src ? 0 : 2;
		break;
	default:
		pport = ~0u;
	}
	if (pport != ~0u) {
		__u16 lsum = 0, n;

		if (bpf_skb_load_bytes(skb, l4 + pport, &oport, 2))
			return -1;
		/* A header cut short keeps its sum, as in the kernel. */
		if (csum_at && l4 + (ip[9] == IPPROTO_TCP ? 20 : 8) <= p->l2len + p->len &&
		    !bpf_skb_load_bytes(skb, l4 + csum_at, &lsum, 2) && (ip[9] != IPPROTO_UDP || lsum)) {
			n = lsum;
			if (ip[9] != IPPROTO_ICMP)
				n = sum_change(n, old, addr);
			n = sum_change(n, oport, port);
			if (ip[9] == IPPROTO_UDP && !n)
				n = 0xffff;
			if (icmp_put(skb, sum_at, l4 + csum_at, lsum, n, 2))
				return -1;
		}
		if (icmp_put(skb, sum_at, l4 + pport, oport, port & 0xffff, 2))
			return -1;
	}
	if (icmp_put(skb, sum_at, at + 10, sum, nsum, 2))
		return -1;
	return icmp_put(skb, sum_at, at + (src ? 12 : 16), old, addr, 4);
}

/* Brings SCTP's sum up to a change of its ports (as stored). */
static __always_inline int sctp_sum(struct __sk_buff *skb, const struct bt_pkt *p, const struct bt_ctx *x, __u32 diff)
{
	__u32 at = (__u32)p->l2len + p->ihl + 8, sum;

	if (skb_summed(skb) == SUM_PARTIAL)
		return 0; /* the device will make it */
	if ((p->flags & P_MORE) || bpf_skb_load_bytes(skb, at, &sum, 4))
		return -1;
	sum ^= bt_crc32c_change(p->len - p->ihl, diff);
	return bpf_skb_store_bytes(skb, at, &sum, 4, 0) ? -1 : 0;
}

#define NAT_ID 0x10000u

/* Rewrites the packet's own source (`src`) or destination to addr, port (network order). ICMP: `id` is NAT_ID | identifier, or 0 for
 * none. */
__noinline int bt_nat_outer(struct __sk_buff *skb, __u32 src, __u32 addr, __u32 port, __u32 id)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 ipat, l4, old, sum_at = 0, port_at = ~0u, extra = 0;
	__u16 oport = 0, nport = port;

	if (!p || !x)
		return -1;
	ipat = p->l2len;
	l4 = ipat + p->ihl;
	old = src ? p->saddr : p->daddr;
	switch (p->proto) {
	case IPPROTO_TCP:
		sum_at = 16;
		port_at = src ? 0 : 2;
		break;
	case IPPROTO_UDP:
		extra = BPF_F_MARK_MANGLED_0;
		if (skb_summed(skb) == SUM_PARTIAL)
			extra |= BPF_F_MARK_ENFORCE;
		/* fall through */
	case IPPROTO_UDPLITE:
		sum_at = 6;
		port_at = src ? 0 : 2;
		break;
	case IPPROTO_SCTP:
		port_at = src ? 0 : 2;
		break;
	case IPPROTO_ICMP:
		if (id) {
			sum_at = 2;
			port_at = 4;
			nport = id;
		}
		break;
	default:
		break;
	}
	if (x->frag_real) {
		sum_at = 0;
	} else if (port_at != ~0u) {
		if (bpf_skb_load_bytes(skb, l4 + port_at, &oport, 2))
			return -1;
		if (oport != nport && p->proto == IPPROTO_SCTP && sctp_sum(skb, p, x, (__u32)(oport ^ nport) << (src ? 0 : 16)))
			return -1;
		if (sum_at) {
			if (p->proto != IPPROTO_ICMP && old != addr &&
			    bpf_l4_csum_replace(skb, l4 + sum_at, old, addr, BPF_F_PSEUDO_HDR | extra | 4))
				return -1;
			if (oport != nport && bpf_l4_csum_replace(skb, l4 + sum_at, oport, nport, extra | 2))
				return -1;
		}
		if (oport != nport && bpf_skb_store_bytes(skb, l4 + port_at, &nport, 2, 0))
			return -1;
	}
	if (old != addr) {
		if (bpf_l3_csum_replace(skb, ipat + 10, old, addr, 4) ||
		    bpf_skb_store_bytes(skb, ipat + (src ? 12 : 16), &addr, 4, 0))
			return -1;
	}
	if (old != addr || (!x->frag_real && port_at != ~0u && oport != nport))
		p->flags |= P_REWRITTEN;
	if (src)
		p->saddr = addr;
	else
		p->daddr = addr;
	if (p->proto != IPPROTO_ICMP && port_at != ~0u) {
		if (src)
			p->sport = bpf_ntohs(nport);
		else
			p->dport = bpf_ntohs(nport);
	}
	return 0;
}

/* Rewrites the packet as its connection says, at this hook. `manip`: MANIP_DST at PREROUTING and OUTPUT, MANIP_SRC at
 * POSTROUTING and INPUT. 0 or -STAT_DROP_REWRITE. */
__noinline int bt_nat_apply(struct __sk_buff *skb, __u32 manip)
{
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	const struct bt_tuple *t;
	struct bt_conn *c;
	__u32 bit, src = manip == MANIP_SRC, addr, port, id, err;

	if (!p || !x || !p->ct)
		return 0;
	c = bt_conn_at(p->ct - 1);
	if (!c)
		return 0;
	/* A masquerading connection that now leaves by another device ends. */
	if (src && p->hook == H_POST && p->ctdir == DIR_ORIG && c->masq_ifindex && p->ctinfo != CI_RELATED &&
	    c->masq_ifindex != p->ifout) {
		bt_ct_reap(p->ct - 1);
		return -STAT_DROP_REWRITE;
	}
	bit = src ? ST_SRC_NAT : ST_DST_NAT;
	if (p->ctdir == DIR_REPLY)
		bit ^= ST_NAT_BITS;
	err = p->ctinfo == CI_RELATED && p->proto == IPPROTO_ICMP;
	if (err && p->icmp_type == 5 && !x->frag_real && (c->status & ST_NAT_BITS))
		return -STAT_DROP_REWRITE; /* a redirect about a translated connection would mislead */
	if (!(c->status & bit))
		return 0;
	/* What the other direction's tuple says, read backwards. */
	t = p->ctdir == DIR_ORIG ? &c->reply : &c->orig;
	addr = src ? t->daddr : t->saddr;
	port = src ? t->dport : t->sport;
	id = t->sport;
	if (err && !x->frag_real) {
		if (bt_nat_inner(skb, !src, addr, t->proto == IPPROTO_ICMP ? id : port))
			return -STAT_DROP_REWRITE;
		return bt_nat_outer(skb, src, addr, 0, 0) ? -STAT_DROP_REWRITE : 0;
	}
	return bt_nat_outer(skb, src, addr, port, err ? 0 : NAT_ID | id) ? -STAT_DROP_REWRITE : 0;
}
