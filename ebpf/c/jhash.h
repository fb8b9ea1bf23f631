/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's hash of words (include/linux/jhash.h). */
#pragma once

#include "abi.h"

#define JHASH_INITVAL 0xdeadbeef

static __always_inline __u32 rotated(__u32 v, __u32 by)
{
	return v << by | v >> (32 - by);
}

/* Its step for three words of more. */
#define JHASH_MIX(a, b, c)                                                                                                                         \
	do {                                                                                                                                       \
		a = (a - c) ^ rotated(c, 4);                                                                                                       \
		c += b;                                                                                                                            \
		b = (b - a) ^ rotated(a, 6);                                                                                                       \
		a += c;                                                                                                                            \
		c = (c - b) ^ rotated(b, 8);                                                                                                       \
		b += a;                                                                                                                            \
		a = (a - c) ^ rotated(c, 16);                                                                                                      \
		c += b;                                                                                                                            \
		b = (b - a) ^ rotated(a, 19);                                                                                                      \
		a += c;                                                                                                                            \
		c = (c - b) ^ rotated(b, 4);                                                                                                       \
		b += a;                                                                                                                            \
	} while (0)

/* The last step of the kernel's jhash. */
static __always_inline __u32 jhash_end(__u32 a, __u32 b, __u32 c)
{
	c = (c ^ b) - rotated(b, 14);
	a = (a ^ c) - rotated(c, 11);
	b = (b ^ a) - rotated(a, 25);
	c = (c ^ b) - rotated(b, 16);
	a = (a ^ c) - rotated(c, 4);
	b = (b ^ a) - rotated(a, 14);
	return (c ^ b) - rotated(b, 24);
}
