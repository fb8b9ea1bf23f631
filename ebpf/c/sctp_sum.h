/* SPDX-License-Identifier: GPL-2.0-only */
/* The sum of an SCTP packet, CRC32c, four bytes at a time. The table is made by whoever needs it first. */
#pragma once

#include "nat_sctp.h"

struct bt_crc_table {
	__u32 ready;
	__u32 of[4][256]; /* of[k][b]: what b leaves k bytes later */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_crc_table);
} bt_crc_tables SEC(".maps");

static __always_inline struct bt_crc_table *crc_table(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_crc_tables, &zero);
}

static __always_inline __u32 crc_shifted(__u32 v)
{
#pragma clang loop unroll(disable)
	for (int i = 0; i < 8; i++)
		v = v >> 1 ^ crc_if(v & 1, CRC32C_POLY);
	return v;
}

static long crc_table_cb(__u32 n, void *data)
{
	struct bt_crc_table *t = crc_table();
	__u32 v = n;

	if (!t || n > 255)
		return 1;
	t->of[0][n & 255] = v = crc_shifted(v);
	t->of[1][n & 255] = v = crc_shifted(v);
	t->of[2][n & 255] = v = crc_shifted(v);
	t->of[3][n & 255] = crc_shifted(v);
	return 0;
}

#define CRC_PIECE 128

/* A piece of the packet: words, and at its end single bytes. The sum's own place counts as zeros. */
static long crc_sum_cb(__u32 n, void *data)
{
	struct __sk_buff *skb = *(struct __sk_buff **)data;
	struct bt_crc_table *t = crc_table();
	struct bt_ctx *x = ctx_();
	__u32 len, sum, word, i;

	if (!x || !t)
		return 1;
	len = x->c_left;
	if (!len)
		return 1;
	if (len > CRC_PIECE)
		len = CRC_PIECE;
	if (bpf_skb_load_bytes(skb, x->c_at, x->buf, length(len, 255))) {
		x->c_left = ~0u;
		return 1;
	}
	if (!n)
		__builtin_memset(x->buf + 8, 0, 4);
	sum = x->c_sum;
#pragma clang loop unroll(disable)
	for (i = 0; i < CRC_PIECE / 4; i++) {
		if (i * 4 + 4 > len)
			break;
		word = sum ^ *(__u32 *)(x->buf + i * 4);
		sum = t->of[3][word & 255] ^ t->of[2][word >> 8 & 255] ^ t->of[1][word >> 16 & 255] ^ t->of[0][word >> 24];
	}
#pragma clang loop unroll(disable)
	for (i = 0; i < 3; i++) {
		if (i >= (len & 3))
			break;
		sum = sum >> 8 ^ t->of[0][(sum ^ x->buf[((len & ~3u) + i) & 255]) & 255];
	}
	x->c_sum = sum;
	x->c_at += len;
	x->c_left -= len;
	return 0;
}

/* Whether the sum of the SCTP packet at x->l4off is right. */
__noinline int bt_sctp_sum_ok(struct __sk_buff *skb)
{
	struct bt_crc_table *t = crc_table();
	struct bt_ctx *x = ctx_();
	__u32 sum;

	if (!x || !t || bpf_skb_load_bytes(skb, x->l4off + 8, &sum, sizeof(sum)))
		return 0;
	if (!t->ready) {
		bpf_loop(256, crc_table_cb, NULL, 0);
		__sync_lock_test_and_set(&t->ready, 1);
	}
	x->c_sum = ~0u;
	x->c_at = x->l4off;
	x->c_left = x->l4len;
	bpf_loop(0x10000 / CRC_PIECE, crc_sum_cb, &skb, 0);
	return !x->c_left && ~x->c_sum == sum;
}
