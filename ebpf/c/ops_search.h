/* SPDX-License-Identifier: GPL-2.0-only */
/* Checks that read through a packet: string, and bpf's classic programs. Both read from the network header on, no further than the packet's
 * own length. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

#define STRING_MAX 128
#define STRING_CHUNK 256
/* Two steps for each byte of the longest packet at most. */
#define STRING_STEPS (1 << 21)

/* Both stand in maps and not on the stack, whose words the verifier would follow one by one. */
struct bt_string {
	__u8 pattern[STRING_MAX], back[STRING_MAX]; /* back: how long a match goes on where the next byte does not fit */
	__u8 text[STRING_CHUNK];
	__u32 at, end; /* of what was not read yet, in the skb */
	__u32 have, i; /* bytes of text, and where in it */
	__u32 matched, len, icase, found;
};

struct bt_filter {
	__u32 a, x, mem[16];
	__u32 line, at, count;
	__u32 l2len, len, result;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_string);
} bt_string_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_filter);
} bt_filter_scratch SEC(".maps");

struct string_walk {
	struct __sk_buff *skb;
	struct bt_string *s;
};

/* As the kernel's toupper: Latin-1. */
static __always_inline __u32 upper(__u32 c)
{
	bool lower = (c >= 'a' && c <= 'z') || (c >= 0xdf && c != 0xf7);

	return lower ? c - 32 : c;
}

/* One step of Knuth, Morris and Pratt's search: to the next byte, or to a shorter match that ends here. */
static long string_step(__u32 n, struct string_walk *w)
{
	struct bt_string *s = w->s;

	if (s->i >= s->have) {
		__u32 left = s->end - s->at;
		if (s->at >= s->end)
			return 1;
		__u32 size = length(left > STRING_CHUNK ? STRING_CHUNK : left, STRING_CHUNK - 1);
		if (bpf_skb_load_bytes(w->skb, s->at, s->text, size))
			return 1;
		s->at += size;
		s->have = size;
		s->i = 0;
	}
	__u32 c = s->text[masked(s->i, STRING_CHUNK - 1)], q = s->matched;
	if (s->icase)
		c = upper(c);
	if (s->pattern[masked(q, STRING_MAX - 1)] == c) {
		s->i++;
		s->matched = q + 1;
		s->found = q + 1 >= s->len;
		return s->found;
	}
	if (q)
		s->matched = s->back[masked(q - 1, STRING_MAX - 1)];
	else
		s->i++;
	return 0;
}

/* at: line of length, 1 to ignore case, from, to; behind it two lines of the pattern and two of `back`. */
__noinline int bt_op_string(struct __sk_buff *skb, __u32 how, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 zero = 0;
	struct bt_string *s = bpf_map_lookup_elem(&bt_string_scratch, &zero);
	void *img = p ? image(p->slot) : NULL;
	struct bt_line *l = img ? line(img, at) : NULL;

	if (!p || !s || !l)
		return -1;
	struct string_walk w = { .skb = skb, .s = s };
	s->have = s->i = s->matched = s->found = 0;
	s->len = l->w[0];
	s->icase = l->w[1];
	s->at = (__u32)p->l2len + l->w[2];
	s->end = (__u32)p->l2len + (l->w[3] < p->len ? l->w[3] : p->len);
	for (int i = 0; i < 4; i++) {
		l = line(img, at + 1 + i);
		if (!l)
			return -1;
		__builtin_memcpy((__u8 *)s + i * sizeof(*l), l, sizeof(*l));
	}
	bpf_loop(STRING_STEPS, string_step, &w, 0);
	return !!s->found != !!(how & OPF_INVERT);
}

struct filter_step {
	__u16 code;
	__u8 jt, jf;
	__u32 k;
};

struct filter_walk {
	struct __sk_buff *skb;
	void *img;
	struct bt_filter *f;
};

/* The big-endian number of 1, 2 or 4 bytes at `at`. */
static __always_inline bool filter_load(struct filter_walk *w, __u32 at, __u32 size, __u32 *value)
{
	__u8 b[4] = {};

	/* Far up the kernel takes an offset for one from the network header, where this one begins. */
	if (at >= 0xfff00000u)
		at -= 0xfff00000u;
	if (at >= w->f->len || w->f->len - at < size)
		return false;
	switch (size) {
	case 1:
		if (bpf_skb_load_bytes(w->skb, w->f->l2len + at, b, 1))
			return false;
		*value = b[0];
		return true;
	case 2:
		if (bpf_skb_load_bytes(w->skb, w->f->l2len + at, b, 2))
			return false;
		*value = (__u32)b[0] << 8 | b[1];
		return true;
	}
	if (bpf_skb_load_bytes(w->skb, w->f->l2len + at, b, 4))
		return false;
	*value = (__u32)b[0] << 24 | (__u32)b[1] << 16 | (__u32)b[2] << 8 | b[3];
	return true;
}

/* The arithmetic of an instruction. False: by nothing is nothing divided. */
static __always_inline bool filter_alu(struct bt_filter *f, __u32 code, __u32 by)
{
	switch (code & 0xf0) {
	case 0x00:
		f->a += by;
		break;
	case 0x10:
		f->a -= by;
		break;
	case 0x20:
		f->a *= by;
		break;
	case 0x30:
		if (!by)
			return false;
		f->a /= by;
		break;
	case 0x40:
		f->a |= by;
		break;
	case 0x50:
		f->a &= by;
		break;
	case 0x60:
		f->a <<= by & 31;
		break;
	case 0x70:
		f->a >>= by & 31;
		break;
	case 0x80:
		f->a = -f->a;
		break;
	case 0x90:
		if (!by)
			return false;
		f->a %= by;
		break;
	default:
		f->a ^= by;
	}
	return true;
}

static long filter_turn(__u32 n, struct filter_walk *w)
{
	struct bt_filter *f = w->f;
	struct bt_line *l;
	__u32 size, by;
	bool yes;

	if (f->at >= f->count)
		return 1;
	l = line(w->img, f->line + f->at / 8);
	if (!l)
		return 1;
	struct filter_step s = ((struct filter_step *)l)[masked(f->at, 7)];
	f->at++;
	switch (s.code & 7) {
	case 0: /* LD */
		size = (s.code & 0x18) == 0x10 ? 1 : (s.code & 0x18) == 0x08 ? 2 : 4;
		switch (s.code & 0xe0) {
		case 0x00:
			f->a = s.k;
			return 0;
		case 0x20:
			return !filter_load(w, s.k, size, &f->a);
		case 0x40:
			return !filter_load(w, f->x + s.k, size, &f->a);
		case 0x60:
			f->a = f->mem[masked(s.k, 15)];
			return 0;
		}
		f->a = f->len;
		return 0;
	case 1: /* LDX */
		switch (s.code & 0xe0) {
		case 0x00:
			f->x = s.k;
			return 0;
		case 0x60:
			f->x = f->mem[masked(s.k, 15)];
			return 0;
		case 0xa0:
			if (!filter_load(w, s.k, 1, &by))
				return 1;
			f->x = (by & 15) * 4;
			return 0;
		}
		f->x = f->len;
		return 0;
	case 2:
		f->mem[masked(s.k, 15)] = f->a;
		return 0;
	case 3:
		f->mem[masked(s.k, 15)] = f->x;
		return 0;
	case 4:
		return !filter_alu(f, s.code, s.code & 8 ? f->x : s.k);
	case 5:
		by = s.code & 8 ? f->x : s.k;
		switch (s.code & 0xf0) {
		case 0x00:
			f->at += s.k;
			return 0;
		case 0x10:
			yes = f->a == by;
			break;
		case 0x20:
			yes = f->a > by;
			break;
		case 0x30:
			yes = f->a >= by;
			break;
		default:
			yes = f->a & by;
		}
		f->at += yes ? s.jt : s.jf;
		return 0;
	case 6:
		f->result = (s.code & 0x18) == 0x10 ? f->a : s.k;
		return 1;
	}
	if (s.code & 0x80)
		f->a = f->x;
	else
		f->x = f->a;
	return 0;
}

/* how >> 16: number of instructions; at: their first line. */
__noinline int bt_op_bpf(struct __sk_buff *skb, __u32 how, __u32 at)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 zero = 0;
	struct bt_filter *f = bpf_map_lookup_elem(&bt_filter_scratch, &zero);

	if (!p || !f)
		return -1;
	struct filter_walk w = { .skb = skb, .img = image(p->slot), .f = f };
	if (!w.img)
		return -1;
	f->a = f->x = f->at = f->result = 0;
	f->line = at;
	f->count = how >> 16;
	f->l2len = p->l2len;
	f->len = p->len;
	/* Jumps lead on, never back. */
	bpf_loop(64, filter_turn, &w, 0);
	return f->result != 0;
}
