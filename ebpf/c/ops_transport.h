/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks of what few packets carry above the network header: sctp, dccp, the identifiers of esp, ah and ipcomp, and tcpmss.
 *
 * Where netfilter's module drops a packet that a `!` then says to match, the check answers OP_DOOMED: the rule counts it, and its end is there. */
#pragma once

#include "bt.h"
#include "ops_arg.h"
#include "ops_l4.h"

#define OP_DOOMED 2

static __always_inline int doomed(bool inverted)
{
	return inverted ? OP_DOOMED : -1;
}

/* Whether ports hold; those of a packet whose header is there. */
static __always_inline bool ports_hold(const __be16 *ports, __u32 how, __u32 sports, __u32 dports)
{
	return in_range(bpf_ntohs(ports[0]), sports) != !!(how & OPF_INV_SPORT) &&
	       in_range(bpf_ntohs(ports[1]), dports) != !!(how & OPF_INV_DPORT);
}

enum chunks { CHUNKS_NONE, CHUNKS_ANY, CHUNKS_ALL, CHUNKS_ONLY };
#define CHUNK_FLAGS 4

struct chunk_walk {
	struct __sk_buff *skb;
	const struct bt_line *asked; /* words 0 to 7: types; 8: number of flags; then type | set << 8 | mask << 16 */
	__u32 at, end, quantity;
	__u32 left[8]; /* ALL: the types that were not met */
	int result;
};

/* The first flags of the chunk's type hold; without any, all do. */
static __always_inline bool chunk_flags(const struct bt_line *asked, const __u8 *chunk)
{
	for (int i = 0; i < CHUNK_FLAGS; i++) {
		__u32 flags = asked->w[9 + i];
		if (i >= asked->w[8])
			break;
		if ((flags & 0xff) == chunk[0])
			return (chunk[1] & (flags >> 16) & 0xff) == (flags >> 8 & 0xff);
	}
	return true;
}

static long chunk_step(__u32 n, struct chunk_walk *w)
{
	__u8 chunk[4];
	__u32 len;

	if (w->at + sizeof(chunk) > w->end || bpf_skb_load_bytes(w->skb, w->at, chunk, sizeof(chunk)))
		goto bad;
	len = (__u32)chunk[2] << 8 | chunk[3];
	if (!len)
		goto bad;
	w->at += (len + 3) & ~3u;
	bool is = w->asked->w[masked(chunk[0] >> 5, 7)] >> (chunk[0] & 31) & 1 && chunk_flags(w->asked, chunk);
	if (w->quantity == CHUNKS_ALL && is) {
		for (int i = 0; i < 8; i++)
			if (i == chunk[0] >> 5)
				w->left[i] &= ~(1u << (chunk[0] & 31));
	}
	if (w->quantity == CHUNKS_ANY && is) {
		w->result = 1;
		return 1;
	}
	if (w->quantity == CHUNKS_ONLY && !is) {
		w->result = 0;
		return 1;
	}
	return w->at >= w->end;
bad:
	w->result = -1;
	return 1;
}

/* how >> 16: enum chunks; OPF_INVERT is of these. at: line of what is asked of them. */
__noinline int bt_op_sctp(struct __sk_buff *skb, __u32 how, __u32 sports, __u32 dports, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	bool invert = how & OPF_INVERT;
	__be16 ports[6];

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < sizeof(ports) || bpf_skb_load_bytes(skb, l4_at(p), ports, sizeof(ports)))
		return -1;
	if (!ports_hold(ports, how, sports, dports))
		return 0;
	struct chunk_walk w = {
		.skb = skb, .quantity = how >> 16, .at = l4_at(p) + sizeof(ports), .end = (__u32)p->l2len + p->len,
	};
	if (w.quantity == CHUNKS_NONE)
		return 1;
	void *img = image(p->slot);
	w.asked = img ? line(img, at) : NULL;
	if (!w.asked)
		return -1;
	w.result = w.quantity == CHUNKS_ONLY;
	for (int i = 0; i < 8; i++)
		w.left[i] = w.asked->w[i];
	/* No packet has more chunks than one of 4 bytes for each of its own. */
	bpf_loop(1 << 17, chunk_step, &w, 0);
	if (w.result < 0)
		return doomed(invert);
	if (w.quantity == CHUNKS_ALL) {
		__u32 left = 0;
		for (int i = 0; i < 8; i++)
			left |= w.left[i];
		w.result = !left;
	}
	return w.result != invert;
}

struct bt_dccphdr {
	__be16 ports[2];
	__u8 doff, cov;
	__be16 check;
	__u8 type, seq[3];
};

/* Bytes of the header without its options, by its type and the length of its sequence number. */
static __always_inline __u32 dccp_header(const struct bt_dccphdr *h)
{
	__u32 len = sizeof(*h) + (h->type & 1 ? 4 : 0);

	switch (h->type >> 1 & 15) {
	case 0: /* REQUEST */
		return len + 4;
	case 2: /* DATA */
		return len;
	case 3: /* ACK */
	case 4: /* DATAACK */
	case 5: /* CLOSEREQ */
	case 6: /* CLOSE */
	case 8: /* SYNC */
	case 9: /* SYNCACK */
		return len + 8;
	}
	return len + 12;
}

struct dccp_walk {
	struct __sk_buff *skb;
	__u32 at, end, want;
	int found;
};

static long dccp_step(__u32 n, struct dccp_walk *w)
{
	__u8 kind, len = 1;

	if (w->at >= w->end)
		return 1;
	if (bpf_skb_load_bytes(w->skb, w->at, &kind, 1)) {
		w->found = -1;
		return 1;
	}
	if (kind == w->want) {
		w->found = 1;
		return 1;
	}
	if (kind >= 2 && w->at + 1 < w->end && bpf_skb_load_bytes(w->skb, w->at + 1, &len, 1))
		len = 1;
	w->at += len ? len : 1;
	return 0;
}

/* how >> 16: types as bits, OPF_INVERT is of these; more: option | 1 << 8 types asked | 1 << 9 option asked. */
__noinline int bt_op_dccp(struct __sk_buff *skb, __u32 how, __u32 sports, __u32 dports, __u32 more)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	bool not_option = how & OPF_INV_TCP_OPTION;
	struct bt_dccphdr h;

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < sizeof(h) || bpf_skb_load_bytes(skb, l4_at(p), &h, sizeof(h)))
		return -1;
	if (!ports_hold(h.ports, how, sports, dports))
		return 0;
	if (more & 1 << 8 && (how >> 16 >> (h.type >> 1 & 15) & 1) == !!(how & OPF_INVERT))
		return 0;
	if (!(more & 1 << 9))
		return 1;
	__u32 header = dccp_header(&h), whole = h.doff * 4;
	if (whole < header || (whole > header && whole > l4_bytes(p)))
		return doomed(not_option);
	struct dccp_walk w = { .skb = skb, .at = l4_at(p) + header, .end = l4_at(p) + whole, .want = more & 0xff };
	bpf_loop(1024, dccp_step, &w, 0);
	if (w.found < 0)
		return doomed(not_option);
	return w.found != not_option;
}

enum spi_of { SPI_ESP, SPI_AH, SPI_IPCOMP };

/* how >> 16: enum spi_of. The identifier is lo to hi. */
__noinline int bt_op_spi(struct __sk_buff *skb, __u32 how, __u32 lo, __u32 hi)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 of = how >> 16, need = of == SPI_ESP ? 8 : of == SPI_AH ? 12 : 4, spi;
	__be32 word[2];

	if (!p)
		return -1;
	if (p->frag_off)
		return 0;
	if (l4_bytes(p) < need)
		return -1;
	if (bpf_skb_load_bytes(skb, l4_at(p) + (of == SPI_AH ? 4 : 0), word, 4))
		return -1;
	spi = bpf_ntohl(word[0]);
	if (of == SPI_IPCOMP)
		spi &= 0xffff;
	return (spi >= lo && spi <= hi) != !!(how & OPF_INVERT);
}

struct mss_walk {
	__u8 opt[64];
	__u32 at, len;
	int mss;
};

static long mss_find(__u32 n, struct mss_walk *w)
{
	__u32 at = w->at, size = 1;

	if (at >= w->len)
		return 1;
	__u32 kind = w->opt[masked(at, 63)], second = w->opt[masked(at + 1, 63)];
	if (kind == 2 && w->len - at >= 4 && second == 4) {
		w->mss = (__u32)w->opt[masked(at + 2, 63)] << 8 | w->opt[masked(at + 3, 63)];
		return 1;
	}
	if (kind >= 2 && at + 1 < w->len)
		size = second;
	w->at = at + (size ? size : 1);
	return 0;
}

/* The MSS option is lo to hi of `range`. Looked for where the header would be also in later fragments, as netfilter does; in those of IPv6
 * without connections that is where the packet begins. */
__noinline int bt_op_tcpmss(struct __sk_buff *skb, __u32 how, __u32 range)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	bool invert = how & OPF_INVERT;
	__u8 th[20];

	if (!p)
		return -1;
	bool whole = BT_FAMILY == 6 && p->frag_off;
	__u32 at = whole ? p->l2len : l4_at(p), have = whole ? p->len : l4_bytes(p);
	if (have < sizeof(th) || bpf_skb_load_bytes(skb, at, th, sizeof(th)))
		return -1;
	__u32 header = (th[12] >> 4) * 4;
	if (header < sizeof(th) || header > have)
		return -1;
	struct mss_walk w = { .len = header - sizeof(th), .mss = -1 };
	if (!w.len)
		return invert;
	if (bpf_skb_load_bytes(skb, at + sizeof(th), w.opt, length(w.len, 63)))
		return -1;
	bpf_loop(40, mss_find, &w, 0);
	return (w.mss >= 0 && in_range(w.mss, range)) != invert;
}
