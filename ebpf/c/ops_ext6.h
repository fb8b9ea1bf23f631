/* SPDX-License-Identifier: GPL-2.0-only */
/* IPv6's checks of extension headers: ah, ipv6header, frag, rt, hbh and dst, srh; of mobility headers (mh); and eui64.
 *
 * Each reads what its netfilter module reads, and drops a packet where that does. */
#pragma once

#include "bt.h"
#include "ops_arg.h"
#include "ops_l4.h"
#include "ops_packet.h"

#define NEXT_ESP 50

/* The first header of a number, searched from the first on as ipv6_find_hdr does. */
struct ext_seek {
	struct __sk_buff *skb;
	__u32 at, end; /* offsets in the skb */
	__u32 next, target;
	bool whole;    /* rules see no fragment header */
	bool frag;     /* it met one */
	int found;     /* 1: it begins at `at`; 0: there is none; -1: what comes before is cut short */
};

static __always_inline __u32 ext_length(__u32 header, __u32 length)
{
	return header == NEXT_FRAGMENT ? 8 : header == NEXT_AUTH ? (length + 2) * 4 : (length + 1) * 8;
}

static long seek_step(__u32 n, struct ext_seek *w)
{
	bool found = w->next == w->target;
	__u8 h[4];

	if (!ext_is(w->next) || w->next == NEXT_NONE) {
		w->found = found;
		return 1;
	}
	__u32 need = w->next == NEXT_ROUTING || w->next == NEXT_FRAGMENT ? 4 : 2;
	if (w->at + need > w->end || bpf_skb_load_bytes(w->skb, w->at, h, 2)) {
		w->found = -1;
		return 1;
	}
	if (w->next == NEXT_FRAGMENT) {
		if (bpf_skb_load_bytes(w->skb, w->at, h, 4)) {
			w->found = -1;
			return 1;
		}
		found = found && !w->whole;
		w->frag = true;
		if (h[2] || h[3] & ~7) {
			w->found = found;
			return 1;
		}
	}
	if (found) {
		w->found = 1;
		return 1;
	}
	w->at += ext_length(w->next, h[1]);
	w->next = h[0];
	return 0;
}

/* Where the header begins: see ext_seek.found. */
static __always_inline int ext_find(struct __sk_buff *skb, struct bt_pkt *p, __u32 target, struct ext_seek *w)
{
	__u8 first;

	w->skb = skb;
	w->target = target;
	w->at = (__u32)p->l2len + 40;
	w->end = (__u32)p->l2len + p->len;
	w->whole = p->flags & P_WHOLE;
	w->found = -1;
	if (bpf_skb_load_bytes(skb, p->l2len + 6, &first, 1))
		return -1;
	w->next = first;
	bpf_loop(EXT_MAX, seek_step, w, 0);
	return w->found;
}

/* more: length | 1 << 16 not that length | 1 << 17 nothing reserved may be set. */
__noinline int bt_op_ah6(struct __sk_buff *skb, __u32 how, __u32 lo, __u32 hi, __u32 more)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct ext_seek w = {};
	struct {
		__u8 next, len;
		__u16 reserved;
		__be32 spi, seq;
	} h;
	int found;

	if (!p)
		return -1;
	found = ext_find(skb, p, NEXT_AUTH, &w);
	if (found <= 0)
		return found;
	if (w.at + sizeof(h) > w.end || bpf_skb_load_bytes(skb, w.at, &h, sizeof(h)))
		return -1;
	__u32 spi = bpf_ntohl(h.spi);
	if ((spi >= lo && spi <= hi) == !!(how & OPF_INVERT))
		return 0;
	if (more & 0xffff && ((more & 0xffff) == ((__u32)h.len + 2) * 4) == !!(more & 1 << 16))
		return 0;
	return !(more & 1 << 17 && h.reserved);
}

/* The headers of a packet as ip6t_ipv6header.c sees them. */
struct ext_list {
	struct __sk_buff *skb;
	__u32 at, end, next, headers;
	bool whole;
	int result; /* 2: none yet */
};

static long list_step(__u32 n, struct ext_list *w)
{
	__u8 h[4] = {};
	__u32 bit;

	switch (w->next) {
	case NEXT_HOP:
		bit = 128;
		break;
	case NEXT_DEST:
		bit = 64;
		break;
	case NEXT_ROUTING:
		bit = 32;
		break;
	case NEXT_FRAGMENT:
		bit = w->whole ? 0 : 16;
		break;
	case NEXT_AUTH:
		bit = 8;
		break;
	case NEXT_ESP:
		bit = 4;
		break;
	case NEXT_NONE:
		w->headers |= 2;
		return 1;
	default:
		return 1;
	}
	if (w->at + 2 > w->end) {
		w->result = 0;
		return 1;
	}
	w->headers |= bit;
	if (w->next == NEXT_ESP)
		return 1;
	if (bpf_skb_load_bytes(w->skb, w->at, h, 2)) {
		w->result = -1;
		return 1;
	}
	/* What follows the header of a later fragment is looked at as well, unless rules see the packet whole. */
	bool last = w->next == NEXT_FRAGMENT && w->whole && !bpf_skb_load_bytes(w->skb, w->at, h, 4) && (h[2] || h[3] & ~7);
	w->at += ext_length(w->next, h[1]);
	w->next = h[0];
	return last || w->at > w->end;
}

__noinline int bt_op_ipv6header(struct __sk_buff *skb, __u32 how, __u32 asked)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	bool soft = how >> 16, invert = how & OPF_INVERT;
	__u8 first;

	if (!p || bpf_skb_load_bytes(skb, p->l2len + 6, &first, 1))
		return -1;
	struct ext_list w = {
		.skb = skb, .at = (__u32)p->l2len + 40, .end = (__u32)p->l2len + p->len, .next = first,
		.whole = p->flags & P_WHOLE, .result = 2,
	};
	bpf_loop(EXT_MAX, list_step, &w, 0);
	if (w.result != 2)
		return w.result;
	if (w.next != NEXT_NONE && w.next != NEXT_ESP)
		w.headers |= 1;
	if (soft)
		return !((w.headers ^ asked ^ (invert ? 0xff : 0)) & asked);
	return (w.headers == asked) != invert;
}

/* how >> 16: 1 nothing reserved may be set, 2 the first, 4 more follow, 8 the last. */
__noinline int bt_op_frag(struct __sk_buff *skb, __u32 how, __u32 lo, __u32 hi)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct ext_seek w = {};
	__u32 asked = how >> 16, id;
	__u8 h[8];
	int found;

	if (!p)
		return -1;
	found = ext_find(skb, p, NEXT_FRAGMENT, &w);
	if (found <= 0)
		return found;
	if (w.at + sizeof(h) > w.end || bpf_skb_load_bytes(skb, w.at, h, sizeof(h)))
		return -1;
	id = (__u32)h[4] << 24 | (__u32)h[5] << 16 | (__u32)h[6] << 8 | h[7];
	if ((id >= lo && id <= hi) == !!(how & OPF_INVERT))
		return 0;
	return !(asked & 1 && (h[1] || h[3] & 6)) && !(asked & 2 && (h[2] || h[3] & ~7)) && !(asked & 4 && !(h[3] & 1)) &&
	       !(asked & 8 && h[3] & 1);
}

enum rt_asked { RT_TYPE = 1, RT_NOT_TYPE = 2, RT_NOT_SEGS = 4, RT_LEN = 8, RT_NOT_LEN = 16, RT_RES = 32, RT_ADDRS = 64, RT_NOT_STRICT = 128 };

struct rt_walk {
	struct __sk_buff *skb;
	void *img;
	__u32 at, line, turns, count, n, i;
	bool strict;
	int result; /* of strict: 1 until one differs; -1: an address is not there */
};

static long rt_step(__u32 n, struct rt_walk *w)
{
	struct bt_line *l;
	bt_addr addr;

	if (w->n >= w->turns)
		return 1;
	l = line(w->img, w->line + w->i / 4);
	if (!l || bpf_skb_load_bytes(w->skb, w->at + w->n * sizeof(addr), &addr, sizeof(addr))) {
		w->result = -1;
		return 1;
	}
	bool same = addr_eq(addr, ((bt_addr *)l)[masked(w->i, 3)]);
	if (w->strict && !same) {
		w->result = 0;
		return 1;
	}
	w->n++;
	w->i += same;
	return w->i >= w->count;
}

/* at: line of flags, type, segments lo and hi, length, number of addresses; those in the lines behind it. */
__noinline int bt_op_rt(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct ext_seek w = {};
	__u8 h[4];
	int found;

	if (!p)
		return -1;
	found = ext_find(skb, p, NEXT_ROUTING, &w);
	if (found <= 0)
		return found;
	void *img = image(p->slot);
	struct bt_line *l = img ? line(img, at) : NULL;
	if (!l || w.at + sizeof(h) > w.end || bpf_skb_load_bytes(skb, w.at, h, sizeof(h)))
		return -1;
	__u32 asked = l->w[0], len = ((__u32)h[1] + 1) * 8;
	if (w.end - w.at < len)
		return -1;
	if ((h[3] >= l->w[2] && h[3] <= l->w[3]) == !!(asked & RT_NOT_SEGS))
		return 0;
	if (asked & RT_LEN && (l->w[4] == len) == !!(asked & RT_NOT_LEN))
		return 0;
	if (asked & RT_TYPE && (l->w[1] == h[2]) == !!(asked & RT_NOT_TYPE))
		return 0;
	if (asked & RT_RES) {
		__u32 reserved;
		if (bpf_skb_load_bytes(skb, w.at + 4, &reserved, sizeof(reserved)))
			return -1;
		if (reserved)
			return 0;
	}
	if (!(asked & RT_ADDRS))
		return 1;
	__u32 total = (len - 8) / 16, count = l->w[5];
	bool strict = !(asked & RT_NOT_STRICT);
	if (count > total || (strict && count != total))
		return 0;
	struct rt_walk r = {
		.skb = skb, .img = img, .at = w.at + 8, .line = at + 1, .turns = strict ? count : total, .count = count,
		.strict = strict, .result = 1,
	};
	bpf_loop(128, rt_step, &r, 0);
	return r.result <= 0 ? r.result : r.i == count;
}

struct opts_walk {
	struct __sk_buff *skb;
	const struct bt_line *asked;
	__u32 at, left, i, count;
	bool holds;
};

static long opts_step(__u32 n, struct opts_walk *w)
{
	__u8 kind, len;
	__u32 size = 1;

	if (w->i >= w->count) {
		w->holds = true;
		return 1;
	}
	__u32 asked = w->asked->w[masked(w->i, 15)];
	if (w->left < 1 || bpf_skb_load_bytes(w->skb, w->at, &kind, 1) || kind != asked >> 8)
		return 1;
	if (kind) {
		if (w->left < 2 || bpf_skb_load_bytes(w->skb, w->at + 1, &len, 1))
			return 1;
		if ((asked & 0xff) != 0xff && (asked & 0xff) != len)
			return 1;
		size = (__u32)len + 2;
	}
	w->i++;
	/* Options go on behind the header's end only for the last that is asked. */
	if (w->left < size && w->i < w->count)
		return 1;
	w->at += size;
	w->left = w->left < size ? 0 : w->left - size;
	return 0;
}

/* how >> 16: the header; at: line of options, type << 8 | length; more: their number | 1 << 8 they are asked | 1 << 9 the length is. */
__noinline int bt_op_opts(struct __sk_buff *skb, __u32 how, __u32 at, __u32 length, __u32 more)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct ext_seek w = {};
	__u8 h[2];
	int found;

	if (!p)
		return -1;
	found = ext_find(skb, p, how >> 16, &w);
	if (found <= 0)
		return found;
	if (bpf_skb_load_bytes(skb, w.at, h, sizeof(h)))
		return -1;
	__u32 len = ((__u32)h[1] + 1) * 8;
	if (w.end - w.at < len)
		return -1;
	if (more & 1 << 9 && (len == length) == !!(how & OPF_INVERT))
		return 0;
	if (!(more & 1 << 8))
		return 1;
	void *img = image(p->slot);
	struct opts_walk o = { .skb = skb, .at = w.at + 2, .left = len - 2, .count = more & 0xff };
	o.asked = img ? line(img, at) : NULL;
	if (!o.asked)
		return -1;
	bpf_loop(17, opts_step, &o, 0);
	return o.holds;
}

__noinline int bt_op_mh(struct __sk_buff *skb, __u32 how, __u32 lo_hi)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u8 h[6];

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < sizeof(h) || bpf_skb_load_bytes(skb, l4_at(p), h, sizeof(h)) || h[0] != NEXT_NONE)
		return -1;
	return in_range(h[2], lo_hi) != !!(how & OPF_INVERT);
}

/* As netfilter numbers them. */
enum srh_asked {
	SRH_NEXT = 1, SRH_LEN_EQ = 2, SRH_LEN_GT = 4, SRH_LEN_LT = 8, SRH_TAG = 1 << 10, SRH_PSID = 1 << 11, SRH_NSID = 1 << 12, SRH_LSID = 1 << 13,
};

/* Three bits of what is asked of a number, from `bit` on: equal, greater, less. */
static __always_inline bool srh_number(__u32 asked, __u32 inverted, __u32 bit, __u32 has, __u32 value)
{
	asked >>= bit;
	inverted >>= bit;
	return !(asked & 1 && (has == value) == !!(inverted & 1)) && !(asked & 2 && (has > value) == !!(inverted & 2)) &&
	       !(asked & 4 && (has < value) == !!(inverted & 4));
}

static __always_inline bool srh_addr(struct __sk_buff *skb, __u32 at, __u32 end, const bt_addr *pair, bool inverted)
{
	bt_addr addr;

	if (at + sizeof(addr) > end || bpf_skb_load_bytes(skb, at, &addr, sizeof(addr)))
		return false;
	return addr_eq(addr_and(addr, pair[1]), addr_and(pair[0], pair[1])) != inverted;
}

/* at: line of what is asked, what is inverted, next header | length << 8 | segments left << 16 | last entry << 24, tag as it lies in memory;
 * behind it the previous, the next and the last segment, each with its mask. */
__noinline int bt_op_srh(struct __sk_buff *skb, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	struct ext_seek w = {};
	struct {
		__u8 next, len, type, left, last, flags;
		__u16 tag;
	} h;

	if (!p)
		return -1;
	if (ext_find(skb, p, NEXT_ROUTING, &w) <= 0)
		return 0;
	void *img = image(p->slot);
	struct bt_line *l = img ? line(img, at) : NULL;
	if (!l)
		return -1;
	if (w.at + sizeof(h) > w.end || bpf_skb_load_bytes(skb, w.at, &h, sizeof(h)))
		return 0;
	if (w.end - w.at < ((__u32)h.len + 1) * 8 || h.type != 4 || h.left > h.last)
		return 0;
	__u32 asked = l->w[0], inverted = l->w[1], numbers = l->w[2];
	if (asked & SRH_NEXT && (h.next == (numbers & 0xff)) == !!(inverted & SRH_NEXT))
		return 0;
	if (!srh_number(asked, inverted, 1, h.len, numbers >> 8 & 0xff) || !srh_number(asked, inverted, 4, h.left, numbers >> 16 & 0xff) ||
	    !srh_number(asked, inverted, 7, h.last, numbers >> 24))
		return 0;
	if (asked & SRH_TAG && (h.tag == l->w[3]) == !!(inverted & SRH_TAG))
		return 0;
	l = line(img, at + 1);
	if (!l)
		return -1;
	if (asked & SRH_PSID) {
		if (h.left == h.last || !srh_addr(skb, w.at + 8 + ((__u32)h.left + 1) * 16, w.end, (bt_addr *)l, inverted & SRH_PSID))
			return 0;
	}
	if (asked & SRH_NSID) {
		if (!h.left || !srh_addr(skb, w.at + 8 + ((__u32)h.left - 1) * 16, w.end, (bt_addr *)l + 2, inverted & SRH_NSID))
			return 0;
	}
	if (!(asked & SRH_LSID))
		return 1;
	l = line(img, at + 2);
	if (!l)
		return -1;
	return srh_addr(skb, w.at + 8, w.end, (bt_addr *)l, inverted & SRH_LSID);
}

/* The source's last 64 bits are made of the link address that the packet came from. */
__noinline int bt_op_eui64(struct __sk_buff *skb)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u64 mac = 0;
	__u8 *m = (__u8 *)&mac;
	int known;

	if (!p)
		return -1;
	known = source_mac(skb, p, &mac);
	if (known <= 0)
		return known;
	return p->saddr.w[2] == bpf_htonl((__u32)(m[0] ^ 2) << 24 | (__u32)m[1] << 16 | (__u32)m[2] << 8 | 0xff) &&
	       p->saddr.w[3] == bpf_htonl(0xfe000000u | (__u32)m[3] << 16 | (__u32)m[4] << 8 | m[5]);
}
