/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m u32`: words of a packet, picked out by numbers and by words, and compared. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

struct u32_walk {
	struct __sk_buff *skb;
	void *img;
	__u32 line, at, count;
	__u32 l2len, len; /* of the packet, as its header says */
	__u32 base, value;
	bool held; /* one of the test's ranges */
	bool failed;
};

/* The word at `base + off`, of the packet's own bytes alone. */
static __always_inline bool u32_load(struct u32_walk *w, __u32 off)
{
	__be32 word;

	if (w->len < 4 || w->base > w->len - 4 || off > w->len - 4 - w->base)
		return false;
	if (bpf_skb_load_bytes(w->skb, w->l2len + w->base + off, &word, sizeof(word)))
		return false;
	w->value = bpf_ntohl(word);
	return true;
}

static long u32_step(__u32 n, struct u32_walk *w)
{
	__u32 at = w->at;
	struct bt_line *l;
	struct bt_op *s;

	if (at >= w->count)
		return 1;
	w->at = at + 1;
	l = line(w->img, w->line + at / 4);
	if (!l)
		goto failed;
	s = (struct bt_op *)l + (at & 3);
	switch (s->op) {
	case U32_LOAD:
		w->base = 0;
		w->held = false;
		if (!u32_load(w, s->b))
			goto failed;
		return 0;
	case U32_AND:
		w->value &= s->b;
		return 0;
	case U32_LEFT:
		w->value <<= s->b & 31;
		return 0;
	case U32_RIGHT:
		w->value >>= s->b & 31;
		return 0;
	case U32_AT:
		if (w->base + w->value < w->base)
			goto failed;
		w->base += w->value;
		if (!u32_load(w, s->b))
			goto failed;
		return 0;
	case U32_RANGE:
		if (w->value >= s->b && w->value <= s->c)
			w->held = true;
		if (!s->a || w->held)
			return 0;
	}
failed:
	w->failed = true;
	return 1;
}

__noinline int bt_op_u32(struct __sk_buff *skb, __u32 how, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	if (!p)
		return -1;
	struct u32_walk w = {
		.skb = skb, .img = image(p->slot), .line = at, .count = how >> 16, .l2len = p->l2len, .len = p->len,
	};
	if (!w.img)
		return -1;
	bpf_loop(BT_MAX_U32_STEPS, u32_step, &w, 0);
	return !w.failed != (how & OPF_INVERT);
}
