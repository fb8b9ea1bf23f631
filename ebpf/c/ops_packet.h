/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks of the network header, of the link header that a packet came with, of its socket and its IPsec state. */
#pragma once

#include "bt.h"
#include "vrf.h"
#include "kernel.h"
#include "kernel_ipsec.h"
#include "ops_arg.h"
#include "ops_l4.h"

/* Of an skb's pkt_type, in linux/if_packet.h. */
#define PKT_HOST 0
#define PKT_BROADCAST 1
#define PKT_MULTICAST 2
#define PKT_LOOPBACK 5
#define OWNER_UID 1
#define OWNER_GID 2
#define OWNER_SOCKET 4
#define OWNER_GROUPS 8
#define MOST_GROUPS_LOG 18
#define STATE_TIME_WAIT 6
#define STATE_NEW_SYN_RECV 12

struct net;
struct net_ref___own {
	struct net *net;
} __attribute__((preserve_access_index));
struct net_device___own {
	struct net_ref___own nd_net;
} __attribute__((preserve_access_index));
struct kid___own {
	__u32 val;
} __attribute__((preserve_access_index));
struct group_info___own {
	int ngroups;
	struct kid___own gid[];
} __attribute__((preserve_access_index));
struct cred___own {
	struct kid___own fsuid, fsgid;
	struct group_info___own *group_info;
} __attribute__((preserve_access_index));
struct file___own {
	struct cred___own *f_cred;
} __attribute__((preserve_access_index));
struct socket___own {
	struct file___own *file;
} __attribute__((preserve_access_index));
struct sock___own;
struct sock_common___own {
	unsigned char skc_state;
	struct net_ref___own skc_net;
	struct sock___own *skc_listener;
} __attribute__((preserve_access_index));
struct sock___own {
	struct sock_common___own __sk_common;
	struct socket___own *sk_socket;
} __attribute__((preserve_access_index));
struct sk_buff___own {
	struct net_device___own *dev;
	struct sock___own *sk;
	unsigned long _skb_refdst;
	__u8 active_extensions;
} __attribute__((preserve_access_index));
struct xfrm_state;
struct dst_entry___own {
	struct xfrm_state *xfrm;
} __attribute__((preserve_access_index));

static __always_inline bool pkttype_is(struct __sk_buff *skb, const struct bt_pkt *p, __u32 want)
{
	__u32 type = addressed_to(skb, p);

	if (type == PKT_LOOPBACK)
		type = addr_is_multicast(p->daddr) ? PKT_MULTICAST : PKT_BROADCAST;
	return type == want;
}

/* TCP's two bits stand where the first fragment has them; in IPv4 netfilter looks there in later ones as well. */
static __always_inline bool ecn_is(struct __sk_buff *skb, const struct bt_pkt *p, __u32 asked, __u32 inverted)
{
	__u8 th[20];

	if (asked & 4 && ((p->tos & 3) == asked >> 4) == !!(inverted & 4))
		return false;
	if (!(asked & 3))
		return true;
	if (BT_FAMILY == 6 && p->frag_off)
		return false;
	if (l4_bytes(p) < sizeof(th) || bpf_skb_load_bytes(skb, l4_at(p), th, sizeof(th)))
		return false;
	return (!(asked & 1) || !!(th[13] & 0x40) != !!(inverted & 1)) && (!(asked & 2) || !!(th[13] & 0x80) != !!(inverted & 2));
}

/* asked: 1 source, 2 not that, 4 destination, 8 not that. The line: first and last of both. */
static __always_inline bool range_is(const struct bt_pkt *p, const bt_addr *range, __u32 asked)
{
	if (asked & 1 && addr_between(p->saddr, range[0], range[1]) == !!(asked & 2))
		return false;
	return !(asked & 4) || addr_between(p->daddr, range[2], range[3]) != !!(asked & 8);
}

/* The link address that the packet came from: 1, and the address; 0: its device has none; -1: not known. */
static __always_inline int source_mac(struct __sk_buff *skb, struct bt_pkt *p, __u64 *mac)
{
	*mac = 0;
	if (p->hook == H_FWD) {
		*mac = p->mac;
		return p->mac_known;
	}
	if (!has_link_header(p) || (by_loopback(skb, p) && !p->vrf))
		return 0;
	return bpf_skb_load_bytes(skb, 6, mac, 6) ? 0 : 1;
}

/* The place of the first group that is not below `least`, among groups in order, as the kernel keeps them. */
struct groups_walk {
	unsigned long gids;
	__u32 from, to, least;
};

static __always_inline __u32 group_at(unsigned long gids, __u32 index)
{
	__u32 gid = 0;

	bpf_probe_read_kernel(&gid, sizeof(gid), (void *)(gids + (unsigned long)index * sizeof(gid)));
	return gid;
}

static long groups_step(__u32 n, struct groups_walk *w)
{
	__u32 middle = w->from + (w->to - w->from) / 2;

	if (w->from >= w->to)
		return 1;
	if (group_at(w->gids, middle) < w->least)
		w->from = middle + 1;
	else
		w->to = middle;
	return 0;
}

/* Whether one of a process's other groups is `least` to `most`. */
static __noinline bool groups_hold(unsigned long at, __u32 count, __u32 least, __u32 most)
{
	struct groups_walk w = { .gids = at + bpf_core_field_offset(struct group_info___own, gid), .to = count, .least = least };

	bpf_loop(MOST_GROUPS_LOG, groups_step, &w, 0);
	return w.from < count && group_at(w.gids, w.from) <= most;
}

/* The socket that sends the packet, as far as it is one of this namespace with a file. */
static __always_inline int owner_is(struct __sk_buff *skb, struct bt_pkt *p, __u32 asked, __u32 inverted, const struct bt_line *l)
{
	struct sk_buff___own *k = kernel_skb(skb);
	const __u32 type = bpf_core_type_id_kernel(struct sock);
	struct net *net = k->dev->nd_net.net;
	struct socket___own *socket = NULL;
	/* A forwarded packet may still have its sender's, which netfilter's hooks do not see. */
	unsigned long at = p->flags & P_LOCAL && !p->answer ? (unsigned long)k->sk : 0;
	struct sock___own *sk;

	/* What REJECT answers with still has the socket of whom it answers. */
	if (p->answer == ANSWER_REJECT && p->proto != IPPROTO_TCP)
		return !(asked & inverted & OWNER_SOCKET) && ((asked ^ inverted) & (OWNER_UID | OWNER_GID)) == 0;

	barrier_var(at);
	if (at) {
		sk = kernel_object(at, type);
		__u8 state = sk->__sk_common.skc_state;
		/* The kernel's types call this word by another of its names. */
		if (state == STATE_NEW_SYN_RECV)
			sk = kernel_object((unsigned long)sk->__sk_common.skc_listener, type);
		if (state != STATE_TIME_WAIT && sk->__sk_common.skc_net.net == net)
			socket = sk->sk_socket;
	}
	if (!socket)
		return (asked ^ inverted) == 0;
	if (asked & inverted & OWNER_SOCKET)
		return 0;
	struct file___own *file = socket->file;
	if (!file)
		return ((asked ^ inverted) & (OWNER_UID | OWNER_GID)) == 0;
	struct cred___own *cred = file->f_cred;
	__u32 uid = cred->fsuid.val, gid = cred->fsgid.val;
	if (asked & OWNER_UID && (uid >= l->w[0] && uid <= l->w[1]) == !!(inverted & OWNER_UID))
		return 0;
	if (!(asked & OWNER_GID))
		return 1;
	bool member = gid >= l->w[2] && gid <= l->w[3];
	if (!member && asked & OWNER_GROUPS) {
		struct group_info___own *groups = cred->group_info;
		if (groups)
			member = groups_hold((unsigned long)groups, groups->ngroups, l->w[2], l->w[3]);
	}
	return member != !!(inverted & OWNER_GID);
}

/* `--pol none`: nothing was unwrapped on the way in, nothing will be wrapped on the way out. */
static __always_inline bool policy_none(struct __sk_buff *skb, bool out)
{
	struct sk_buff___own *k = kernel_skb(skb);

	if (!out)
		return !was_unwrapped(k->active_extensions);
	if (!bpf_core_field_exists(struct dst_entry___own, xfrm))
		return true;
	struct dst_entry___own *dst = kernel_object(k->_skb_refdst & SKB_DST_PTRMASK, bpf_core_type_id_kernel(struct dst_entry));
	return !dst->xfrm;
}

enum policy_asked { POL_REQID = 1, POL_SPI = 2, POL_PROTO = 4, POL_MODE = 8, POL_SRC = 16, POL_DST = 32 };
#define MAX_UNWRAPPED 6 /* XFRM_MAX_DEPTH */

union xfrm_address___pol {
	__u32 a4;
} __attribute__((preserve_access_index));
struct xfrm_id___pol {
	union xfrm_address___pol daddr;
	__u32 spi;
	__u8 proto;
} __attribute__((preserve_access_index));
struct xfrm_state___pol {
	struct xfrm_id___pol id;
	struct {
		__u32 reqid;
		__u8 mode;
		union xfrm_address___pol saddr;
	} props;
} __attribute__((preserve_access_index));
struct sec_path {
	int len;
	void *xvec[MAX_UNWRAPPED];
} __attribute__((preserve_access_index));

/* An address of a tunnel, of which the kernel compares as many bytes as the packet's have. */
static __always_inline bool tunnel_addr_is(unsigned long at, const bt_addr *want)
{
	bt_addr addr;

	return !bpf_probe_read_kernel(&addr, sizeof(addr), (void *)at) && addr_eq(addr_and(addr, want[1]), addr_and(want[0], want[1]));
}

/* Whether one of the states that unwrapped the packet is as asked, as match_xfrm_state. */
static __always_inline bool state_is(void *at, const struct bt_line *l, const bt_addr *tunnel)
{
	struct xfrm_state___pol *x = at;
	unsigned long saddr = (unsigned long)at + bpf_core_field_offset(struct xfrm_state___pol, props.saddr.a4);
	unsigned long daddr = (unsigned long)at + bpf_core_field_offset(struct xfrm_state___pol, id.daddr.a4);
	__u32 asked = l->w[3], inverted = asked >> 8;

	return !((asked & POL_SRC && tunnel_addr_is(saddr, tunnel) == !!(inverted & POL_SRC)) ||
		 (asked & POL_DST && tunnel_addr_is(daddr, tunnel + 2) == !!(inverted & POL_DST)) ||
		 (asked & POL_PROTO && (BPF_CORE_READ(x, id.proto) == (l->w[2] & 0xff)) == !!(inverted & POL_PROTO)) ||
		 (asked & POL_MODE && (BPF_CORE_READ(x, props.mode) == l->w[2] >> 8) == !!(inverted & POL_MODE)) ||
		 (asked & POL_SPI && (BPF_CORE_READ(x, id.spi) == l->w[1]) == !!(inverted & POL_SPI)) ||
		 (asked & POL_REQID && (BPF_CORE_READ(x, props.reqid) == l->w[0]) == !!(inverted & POL_REQID)));
}

/* `--dir in --pol ipsec`, of one element: some state's, or if `strict` the only one's. */
__noinline int bt_op_ipsec(struct __sk_buff *skb, __u32 element, __u32 addrs)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	void *img = p ? image(p->slot) : NULL;
	struct bt_line *l = img ? line(img, element) : NULL, *tunnel = img ? line(img, addrs) : NULL;
	struct sk_buff___own *k = kernel_skb(skb);
	struct sec_path *sp;
	unsigned long at;
	void *x;
	int len;

	if (!l || !tunnel)
		return -1;
	if (!was_unwrapped(k->active_extensions) || !(at = unwrapped_by(k)))
		return 0;
	sp = (void *)at;
	/* A number of one byte since Linux 7. */
	len = BPF_CORE_READ_BITFIELD_PROBED(sp, len);
	if (l->w[4] && len != 1)
		return 0;
	for (int i = 0; i < MAX_UNWRAPPED; i++) {
		if (i >= len)
			break;
		x = BPF_CORE_READ(sp, xvec[i]);
		if (x && state_is(x, l, (const bt_addr *)tunnel))
			return 1;
	}
	return 0;
}

/* `how` as for all ops: flags | a << 16. */
__noinline int bt_op_packet(struct __sk_buff *skb, __u32 op, __u32 how, __u32 b, __u32 c)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	bool invert = how & OPF_INVERT;
	__u32 a = how >> 16;
	struct bt_line *l;
	__u64 mac;
	int known;
	void *img;

	if (!p)
		return -1;
	switch (op) {
	case OP_MAC:
		known = source_mac(skb, p, &mac);
		return known <= 0 ? known : (mac == ((__u64)c << 32 | b)) != invert;
	case OP_PKTTYPE:
		return pkttype_is(skb, p, b) != invert;
	case OP_LENGTH:
		return in_range(p->len, b) != invert;
	case OP_TTL:
		return a == 0 ? p->ttl == b : a == 1 ? p->ttl != b : a == 2 ? p->ttl < b : p->ttl > b;
	case OP_TOS:
		return ((p->tos & c) == b) != invert;
	case OP_ECN:
		return ecn_is(skb, p, b, c);
	case OP_POLICY:
		return a ? bt_op_ipsec(skb, b, c) : policy_none(skb, b);
	}
	img = image(p->slot);
	l = img ? line(img, b) : NULL;
	if (!l)
		return -1;
	if (op == OP_IPRANGE)
		return range_is(p, (const bt_addr *)l, a);
	return owner_is(skb, p, a & 0xff, a >> 8, l);
}

/* The link address of a packet that will be forwarded, from the program where it comes in to the one where it leaves: by then the link
 * header is another. 47 bits: no frame is sent by a group. Zero stands for any that no rule can name. */
static __always_inline void mac_carry(struct __sk_buff *skb, struct bt_pkt *p)
{
	__u64 mac = 0;

	if (has_link_header(p) && bpf_skb_load_bytes(skb, 6, &mac, 6))
		mac = 0;
	if (mac & 1)
		mac = 0;
	mac >>= 1;
	bpf_set_hash(skb, mac);
	skb->tc_index = MAC_KNOWN | mac >> 32;
}

/* At FORWARD. A packet that came in before rules asked for its address has none: a check of it drops the packet. */
static __always_inline void mac_take(struct __sk_buff *skb, struct bt_pkt *p)
{
	struct bt_dev_info *d = bpf_map_lookup_elem(&bt_devs, &p->ifin);
	__u32 index = skb->tc_index;

	p->mac = 0;
	p->mac_known = d && !d->l2len ? 0 : index & MAC_KNOWN ? 1 : -1;
	if (!(index & MAC_KNOWN))
		return;
	p->mac = ((__u64)(index & (MAC_KNOWN - 1)) << 32 | skb->hash) << 1;
	bpf_set_hash_invalid(skb);
}
