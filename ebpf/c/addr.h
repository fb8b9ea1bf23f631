/* SPDX-License-Identifier: GPL-2.0-only */
/* Addresses of the family that is compiled (BT_FAMILY): what code that serves both may ask of a `bt_addr`. Network byte order. */
#pragma once

#include <stdbool.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>

#include "abi.h"

/* murmur3's finaliser, as abi::image::hash. */
static __always_inline __u64 bt_hash(__u64 key, __u64 seed)
{
	__u64 h = key ^ seed;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdULL;
	h ^= h >> 33;
	h *= 0xc4ceb9fe1a85ec53ULL;
	return h ^ (h >> 33);
}

#if BT_FAMILY == 6

#define BT_AF 10 /* AF_INET6 */
#define BT_ETH_P 0x86dd
#define BT_ICMP 58
#define BT_ICMP_REDIRECT 137
#define BT_ADDR_BITS 128
typedef __u32 bt_frag_id;
#define ADDR_NONE ((bt_addr){})
#define ADDR_LOOPBACK ((bt_addr){ { 0, 0, 0, bpf_htonl(1) } })

static __always_inline bool addr_eq(bt_addr a, bt_addr b)
{
	return !((a.w[0] ^ b.w[0]) | (a.w[1] ^ b.w[1]) | (a.w[2] ^ b.w[2]) | (a.w[3] ^ b.w[3]));
}

static __always_inline bt_addr addr_and(bt_addr a, bt_addr mask)
{
	for (int i = 0; i < 4; i++)
		a.w[i] &= mask.w[i];
	return a;
}

/* The bits of `a` where the mask has none, those of `b` where it has. */
static __always_inline bt_addr addr_mix(bt_addr a, bt_addr b, bt_addr mask)
{
	for (int i = 0; i < 4; i++)
		a.w[i] = (a.w[i] & ~mask.w[i]) | (b.w[i] & mask.w[i]);
	return a;
}

/* Both addresses in 64 bits, for hashes. */
static __always_inline __u64 addr_pair(bt_addr a, bt_addr b)
{
	__u64 x = (__u64)a.w[0] << 32 | a.w[1], y = (__u64)b.w[0] << 32 | b.w[1];

	x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9ULL + ((__u64)a.w[2] << 32 | a.w[3]);
	y = (y ^ (y >> 31)) * 0x94d049bb133111ebULL + ((__u64)b.w[2] << 32 | b.w[3]);
	return x * 3 ^ (y << 17 | y >> 47);
}

/* As numbers, both ends included. */
static __always_inline bool addr_between(bt_addr a, bt_addr lo, bt_addr hi)
{
	bool above = false, below = false;

	for (int i = 0; i < 4; i++) {
		__u32 v = bpf_ntohl(a.w[i]), l = bpf_ntohl(lo.w[i]), h = bpf_ntohl(hi.w[i]);
		if (!above && v < l)
			return false;
		if (!below && v > h)
			return false;
		above |= v > l;
		below |= v < h;
	}
	return true;
}

/* One of lo to hi by a hash, word by word as the kernel's nat does. */
static __always_inline bt_addr addr_pick(bt_addr lo, bt_addr hi, __u64 hash)
{
	bool full = false;

	for (int i = 0; i < 4; i++) {
		__u64 min = bpf_ntohl(lo.w[i]), span = full ? 0xffffffff : bpf_ntohl(hi.w[i]) - min + 1;
		__u32 j = bt_hash(hash, i) >> 32;

		if (lo.w[i] == hi.w[i] && !full)
			continue;
		lo.w[i] = bpf_htonl((full ? 0 : min) + (j * span >> 32));
		full |= lo.w[i] != hi.w[i];
	}
	return lo;
}

/* fe80::/10 and, of multicast, interface and link scope: addresses that mean something on one link only. */
static __always_inline bool addr_is_link_local(bt_addr a)
{
	return (a.w[0] & bpf_htonl(0xffc00000)) == bpf_htonl(0xfe800000);
}

static __always_inline bool addr_is_multicast(bt_addr a)
{
	return (a.w[0] & bpf_htonl(0xff000000)) == bpf_htonl(0xff000000);
}

/* ::1 */
static __always_inline bool addr_is_loopback(bt_addr a)
{
	return !(a.w[0] | a.w[1] | a.w[2]) && a.w[3] == bpf_htonl(1);
}

static __always_inline bool addr_is_none(bt_addr a)
{
	return !(a.w[0] | a.w[1] | a.w[2] | a.w[3]);
}

/* The first octet. */
static __always_inline __u32 addr_first(bt_addr a)
{
	return a.w[0] & 0xff;
}

#else

#define BT_AF 2 /* AF_INET */
#define BT_ETH_P 0x0800
#define BT_ICMP 1
#define BT_ICMP_REDIRECT 5
#define BT_ADDR_BITS 32
typedef __u16 bt_frag_id;
#define ADDR_NONE 0
#define ADDR_LOOPBACK bpf_htonl(0x7f000001)

static __always_inline bool addr_eq(bt_addr a, bt_addr b)
{
	return a == b;
}

static __always_inline bt_addr addr_and(bt_addr a, bt_addr mask)
{
	return a & mask;
}

/* The bits of `a` where the mask has none, those of `b` where it has. */
static __always_inline bt_addr addr_mix(bt_addr a, bt_addr b, bt_addr mask)
{
	return (a & ~mask) | (b & mask);
}

/* Both addresses in 64 bits, for hashes. */
static __always_inline __u64 addr_pair(bt_addr a, bt_addr b)
{
	return (__u64)a << 32 | b;
}

/* As numbers, both ends included. */
static __always_inline bool addr_between(bt_addr a, bt_addr lo, bt_addr hi)
{
	a = bpf_ntohl(a);
	return a >= bpf_ntohl(lo) && a <= bpf_ntohl(hi);
}

/* One of lo to hi by a hash. */
static __always_inline bt_addr addr_pick(bt_addr lo, bt_addr hi, __u64 hash)
{
	__u32 first = bpf_ntohl(lo), span = bpf_ntohl(hi) - first + 1;

	return span == 1 ? lo : bpf_htonl(first + ((hash >> 32) * span >> 32));
}

static __always_inline bool addr_is_multicast(bt_addr a)
{
	return bpf_ntohl(a) >> 28 == 0xe;
}

static __always_inline bool addr_is_none(bt_addr a)
{
	return !a;
}

/* The first octet. */
static __always_inline __u32 addr_first(bt_addr a)
{
	return a & 0xff;
}

#endif
