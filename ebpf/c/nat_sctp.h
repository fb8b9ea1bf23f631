/* SPDX-License-Identifier: GPL-2.0-only */
/* CRC32c of SCTP after a change of its ports. The CRC is linear: the change of the first four bytes, moved over the length of the
 * packet, is the change of the sum. In the reflected representation: bit 31 is x^0. */
#pragma once

#include "ct_table.h"

#define CRC32C_POLY 0x82f63b78u

struct crc_state {
	__u32 len, product;
};

/* `v` if `bit` (0 or 1) is set, else 0: by multiplication, for through branches verifiers would walk 2^32 ways, and they make
 * branches of a mask of all or no ones as well (Linux 7). */
static __always_inline __u32 crc_if(__u32 bit, __u32 v)
{
	barrier_var(bit);
	return bit * v;
}

/* a * b modulo the polynomial. */
static __always_inline __u32 crc_mul(__u32 a, __u32 b)
{
	__u32 r = 0, i;

#pragma clang loop unroll(disable)
	for (i = 0; i < 32; i++) {
		r ^= crc_if(a >> 31, b);
		a <<= 1;
		b = b >> 1 ^ crc_if(b & 1, CRC32C_POLY);
	}
	return r;
}

/* Multiplies by x^(8 * 2^n) where bit n of the length is set. */
static long crc_cb(__u32 n, void *data)
{
	struct crc_state *s = data;
	__u32 k;

	switch (n) {
	case 0: k = 0x00800000u; break;
	case 1: k = 0x00008000u; break;
	case 2: k = 0x82f63b78u; break;
	case 3: k = 0x6ea2d55cu; break;
	case 4: k = 0x18b8ea18u; break;
	case 5: k = 0x510ac59au; break;
	case 6: k = 0xb82be955u; break;
	case 7: k = 0xb8fdb1e7u; break;
	case 8: k = 0x88e56f72u; break;
	case 9: k = 0x74c360a4u; break;
	case 10: k = 0xe4172b16u; break;
	case 11: k = 0x0d65762au; break;
	case 12: k = 0x35d73a62u; break;
	case 13: k = 0x28461564u; break;
	case 14: k = 0xbf455269u; break;
	case 15: k = 0xe2ea32dcu; break;
	default: return 1;
	}
	if (s->len >> n & 1)
		s->product = crc_mul(s->product, k);
	return 0;
}

/* What to xor to the sum (as stored) of a packet of `len` bytes whose first four bytes change by xor of `diff` (as stored). */
__noinline __u32 bt_crc32c_change(__u32 len, __u32 diff)
{
	/* From the one factor that is not constant on: of constants, verifiers (Linux 7.2) would follow all 2^16 products. */
	struct crc_state s = { .len = len, .product = diff };

	bpf_loop(16, crc_cb, &s, 0);
	return s.product;
}
