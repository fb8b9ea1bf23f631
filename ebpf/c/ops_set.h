/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m set`: the kernel's sets, searched where the kernel keeps them. So what `ipset` did is what the next packet meets, and a swap is one.
 *
 * Programs at tcx run under RCU, as the kernel's own search does, and nothing that is read here is freed beneath them. Where things stand in
 * the kernel's structures (bt_set_conf) user space reads from the kernel's types, for sets may be a module's. All loads are of the kind that
 * gives zero where there is no memory.
 *
 * A rule knows its set by name: the index where it was last is a hint, kept in the rule's state line. Legacy holds a set by its index,
 * and a reference keeps index and name together; a swap exchanges names, then pointers, so the name leads to what comes after it. */
#pragma once

#include "bt.h"
#include "kernel_net.h"
#include "ops_arg.h"
#include "ops_l4.h"
#include "ops_packet.h"

#define NFPROTO_OWN (BT_FAMILY == 6 ? 10 : 2)
#define SET_STEPS (1 << 21)
#define SET_MANY (1 << 16)
#define SET_TRIES 4
#define SET_FEATURES 0xffu
#define SET_FEATURE_LIST 0x10u
#define SET_FEATURE_NOMATCH 0x80u
#define SET_EXT_TIMEOUT 1
#define SET_EXT_COUNTER 2
#define SET_NO_16 0xffffu
#define SET_NO_8 0xffu
#define SET_MAC_FILLED 1

/* Structures of the kernel that begin with a number of 8, 4, 2 bytes and one: to load such a number from anywhere. */
struct timespec64 {
	__s64 tv_sec;
} __attribute__((preserve_access_index));
struct in_addr {
	__u32 s_addr;
} __attribute__((preserve_access_index));
struct sockaddr {
	unsigned short sa_family;
} __attribute__((preserve_access_index));
struct icmphdr {
	__u8 type;
} __attribute__((preserve_access_index));
struct net_generic;
struct net___sets {
	struct net_generic *gen;
} __attribute__((preserve_access_index));
struct net_device___sets {
	const unsigned char *dev_addr;
} __attribute__((preserve_access_index));

static __always_inline __u64 k64(__u64 at)
{
	struct timespec64 *o = kernel_object(at, bpf_core_type_id_kernel(struct timespec64));
	return o->tv_sec;
}

static __always_inline __u32 k32(__u64 at)
{
	struct in_addr *o = kernel_object(at, bpf_core_type_id_kernel(struct in_addr));
	return o->s_addr;
}

static __always_inline __u32 k16(__u64 at)
{
	struct sockaddr *o = kernel_object(at, bpf_core_type_id_kernel(struct sockaddr));
	return o->sa_family;
}

static __always_inline __u32 k8(__u64 at)
{
	struct icmphdr *o = kernel_object(at, bpf_core_type_id_kernel(struct icmphdr));
	return o->type;
}

enum set_phase { SET_ENTER, SET_PREFIX, SET_ELEM, SET_MEMBER };
/* What a step gives: the set's answer as the kernel's (1: has it, -1: has it as `nomatch`, 0: does not), or that the search goes on. */
#define SET_ON 2

struct bt_set_walk {
	/* The namespace's sets. */
	__u64 list;
	__u32 max, at;
	/* The rule. */
	struct bt_set_params rule;
	/* The packet; side 0 is the destination's, 1 the source's. */
	bt_addr addr[2];
	__u64 mac[2]; /* 0: none */
	__u64 iface[2]; /* name of the second dimension's device, without what stands behind its end */
	__u32 mark;
	__u16 port[2]; /* network byte order */
	__u8 proto, has_port;
	/* The list that is gone through; 0: none. */
	__u64 outer, head, node;
	__u32 outer_ext, outer_timeout, outer_counter;
	/* The set that is searched. */
	__u64 set, data, dsize;
	__u32 type, features, ext, timeout, counter;
	bt_addr ip, ip2;
	__u32 phase;
	__u32 j, k;   /* the next prefixes */
	__u32 i, pos; /* the next element of the bucket */
	__u64 bucket, used;
	__u32 multi;
	__u32 key[20];
	__u32 found;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_set_walk);
} bt_set_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_set_conf);
} bt_sets SEC(".maps");

struct set_ctx {
	struct bt_set_walk *w;
	struct bt_set_conf *f;
};

/* The bytes of `v` before its first zero byte, as a mask. */
static __always_inline __u64 before_end(__u64 v)
{
	__u64 zero = (v - 0x0101010101010101ull) & ~v & 0x8080808080808080ull;

	return zero ? ((zero & -zero) >> 7) - 1 : ~0ull;
}

static __always_inline bool set_named(__u64 name, const __u64 *wanted)
{
	for (int i = 0; i < 4; i++) {
		__u64 v = k64(name + 8 * i), mask = before_end(v);
		if ((v & mask) != wanted[i])
			return false;
		if (mask != ~0ull)
			return true;
	}
	return true;
}

static long set_seek_step(__u32 n, struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	__u64 set;

	if (n >= w->max)
		return 1;
	set = k64(w->list + 8ull * n);
	if (!set || !set_named(set + c->f->name, (const __u64 *)w->rule.name))
		return 0;
	w->set = set;
	w->at = n;
	return 1;
}

/* The set of the rule's name into w->set; 0: there is none. */
static __always_inline void set_find(struct set_ctx *c, struct bt_line *hint)
{
	struct bt_set_walk *w = c->w;
	__u32 at = hint->w[0] - 1;

	w->set = 0;
	if (at < w->max) {
		__u64 set = k64(w->list + 8ull * at);
		if (set && set_named(set + c->f->name, (const __u64 *)w->rule.name)) {
			w->set = set;
			return;
		}
	}
	/* Names that are being exchanged may be none for a moment. */
	for (int i = 0; i < SET_TRIES && !w->set; i++)
		bpf_loop(SET_MANY, set_seek_step, c, 0);
	if (w->set)
		hint->w[0] = w->at + 1;
}

static __always_inline bool set_expired(__u64 at)
{
	__u64 t = k64(at);

	return t && (__s64)(t - bpf_jiffies64()) < 0;
}

static __always_inline bool set_counted(__u64 have, __u64 want, __u32 how)
{
	switch (how) {
	case 1:
		return have == want;
	case 2:
		return have != want;
	case 3:
		return have < want;
	case 4:
		return have > want;
	}
	return true;
}

static __always_inline bool set_counters(const struct set_ctx *c, __u64 counter)
{
	const struct bt_set_params *r = &c->w->rule;

	return set_counted(k64(counter + c->f->packets), r->packets, r->packets_op) &&
	       set_counted(k64(counter + c->f->bytes), r->bytes, r->bytes_op);
}

/* Whether an element's extensions let it match. */
static __always_inline bool set_extensions(const struct set_ctx *c, __u64 elem)
{
	struct bt_set_walk *w = c->w;

	if (w->ext & SET_EXT_TIMEOUT && set_expired(elem + w->timeout))
		return false;
	/* Of a list's members counters are not asked. */
	return w->outer || !(w->ext & SET_EXT_COUNTER) || set_counters(c, elem + w->counter);
}

/* A type by what it holds, and two pairs by their names: `b` of bitmap, and the net of hash:net,port,net. */
static __always_inline __u32 set_type(__u32 features, __u64 name)
{
	bool bitmap = (name & 0xff) == 'b';

	switch (features & SET_FEATURES) {
	case 0x01:
		return bitmap ? SETT_BITMAP_IP : SETT_HASH_IP;
	case 0x02:
		return SETT_BITMAP_PORT;
	case 0x04:
		return SETT_HASH_MAC;
	case 0x05:
		return bitmap ? SETT_BITMAP_IPMAC : SETT_HASH_IPMAC;
	case 0x41:
		return SETT_HASH_IPMARK;
	case 0x03:
		return SETT_HASH_IPPORT;
	case 0x0b:
		return SETT_HASH_IPPORTIP;
	case 0x8b:
		return (name >> 40 & 0xff) == 'i' ? SETT_HASH_IPPORTNET : SETT_HASH_NETPORTNET;
	case 0x81:
		return SETT_HASH_NET;
	case 0x83:
		return SETT_HASH_NETPORT;
	case 0xa1:
		return SETT_HASH_NETIFACE;
	case 0x89:
		return SETT_HASH_NETNET;
	}
	return SETT_COUNT;
}

static __always_inline void put_addr(struct bt_set_walk *w, __u32 at, bt_addr addr)
{
	if (at == SET_NO_8)
		return;
	at = masked(at, 0x3c);
	*(bt_addr *)((__u8 *)w->key + at) = addr;
}

static __always_inline void put_8(struct bt_set_walk *w, __u32 at, __u32 v)
{
	if (at == SET_NO_8)
		return;
	at = masked(at, 0x3f);
	((__u8 *)w->key)[at] = v;
}

static __always_inline __u32 prefix_word(__u32 len, __u32 word)
{
	__u32 bits = len > 32 * word ? len - 32 * word : 0;

	if (bits >= 32)
		return ~0u;
	return bits ? bpf_htonl(~0u << (32 - bits)) : 0;
}

static __always_inline bt_addr cut(bt_addr addr, __u32 len)
{
#if BT_FAMILY == 6
	for (int i = 0; i < 4; i++)
		addr.w[i] &= prefix_word(len, i);
	return addr;
#else
	return addr & prefix_word(len, 0);
#endif
}

static __always_inline bt_addr and_kernel(bt_addr addr, __u64 at)
{
#if BT_FAMILY == 6
	for (int i = 0; i < 4; i++)
		addr.w[i] &= k32(at + 4 * i);
	return addr;
#else
	return addr & k32(at);
#endif
}

static __always_inline bool addr_zero(bt_addr addr)
{
#if BT_FAMILY == 6
	return !(addr.w[0] | addr.w[1] | addr.w[2] | addr.w[3]);
#else
	return !addr;
#endif
}

/* The kernel's jhash2 of the key. */
static __always_inline __u32 set_hash(const __u32 *key, __u32 words, __u32 seed)
{
	__u32 a, b, c, at = 0;

	a = b = c = 0xdeadbeef + (words << 2) + seed;
	for (int i = 0; i < 3 && words > 3; i++) {
		/* Older verifiers forget how far it may be. */
		at = masked(at, 15);
		a += key[at];
		b += key[at + 1];
		c += key[at + 2];
		a = (a - c) ^ rotated(c, 4);
		c += b;
		b = (b - a) ^ rotated(a, 6);
		a += c;
		c = (c - b) ^ rotated(b, 8);
		b += a;
		a = (a - c) ^ rotated(c, 16);
		c += b;
		b = (b - a) ^ rotated(a, 19);
		a += c;
		c = (c - b) ^ rotated(b, 4);
		b += a;
		at += 3;
		words -= 3;
	}
	at = masked(at, 15);
	if (words > 2)
		c += key[at + 2];
	if (words > 1)
		b += key[at + 1];
	a += key[at];
	return jhash_end(a, b, c);
}

/* Takes the bucket of the key up; false: it is empty. */
static __always_inline bool set_bucket(struct set_ctx *c, const struct bt_set_type *t)
{
	struct bt_set_walk *w = c->w;
	__u64 table = k64(w->data + t->table);
	__u32 hash = set_hash(w->key, t->words, k32(w->data + t->initval));
	__u32 bits = k8(table + c->f->bits);

	hash &= (1u << (bits & 31)) - 1;
	w->bucket = k64(table + c->f->buckets + 8ull * hash);
	if (!w->bucket)
		return false;
	w->i = 0;
	w->pos = k8(w->bucket + c->f->pos);
	w->used = k64(w->bucket + c->f->used);
	w->phase = SET_ELEM;
	return true;
}

static __always_inline int set_bitmap(struct set_ctx *c, const struct bt_set_type *t)
{
	struct bt_set_walk *w = c->w;
	bool source = w->rule.sides & 1, ipmac = w->type == SETT_BITMAP_IPMAC;
	__u64 mac = w->mac[w->rule.sides >> 1 & 1];
	__u32 first, last, id, v;

	if (w->type == SETT_BITMAP_PORT) {
		if (!w->has_port || (w->proto != IPPROTO_TCP && w->proto != IPPROTO_UDP))
			return 0;
		v = bpf_ntohs(w->port[source]);
		first = k16(w->data + t->first);
		last = k16(w->data + t->last);
		id = v - first;
	} else {
#if BT_FAMILY == 6
		return 0;
#else
		v = bpf_ntohl(w->addr[source]);
		first = k32(w->data + t->first);
		last = k32(w->data + t->last);
		id = v - first;
		if (!ipmac) {
			__u32 hosts = k32(w->data + t->hosts);
			id = ((v & bpf_ntohl(prefix_word(k8(w->data + t->netmask), 0))) - first) / (hosts ? hosts : 1);
		}
#endif
	}
	if (v < first || v > last || (ipmac && !mac))
		return 0;
	if (!(k64(k64(w->data + t->members) + (id >> 6) * 8ull) >> (id & 63) & 1))
		return 0;
	__u64 elem = w->data + t->ext + w->dsize * id;
	if (ipmac) {
		/* One without an address takes any. The kernel would put the packet's into it. */
		if (k8(elem + t->filled) != SET_MAC_FILLED)
			return 1;
		if ((k32(elem + t->mac) | (__u64)k16(elem + t->mac + 4) << 32) != mac)
			return 0;
	}
	return set_extensions(c, elem);
}

/* A set begins: its answer, or how it is searched. */
static __always_inline int set_enter(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	struct bt_set_conf *f = c->f;
	__u32 sides = w->rule.sides;
	__u64 type = k64(w->set + f->type_);
	__u32 family = k8(w->set + f->family);

	w->features = k16(type + f->type_features);
	if (w->rule.dim < k8(type + f->type_dimension) || (family && family != NFPROTO_OWN))
		return 0;
	w->data = k64(w->set + f->data);
	w->ext = k8(w->set + f->extensions);
	w->dsize = k64(w->set + f->dsize);
	w->counter = k64(w->set + f->offsets);
	w->timeout = k64(w->set + f->offsets + 8);
	w->multi = 0;
	w->j = w->k = 0;
	if (w->features & SET_FEATURE_LIST) {
		/* No list has lists. */
		if (w->outer)
			return 0;
		w->outer = w->set;
		w->outer_ext = w->ext;
		w->outer_timeout = w->timeout;
		w->outer_counter = w->counter;
		w->head = w->node = w->data + f->list_members;
		w->phase = SET_MEMBER;
		return SET_ON;
	}
	w->type = set_type(w->features, k64(type + f->type_name));
	if (w->type >= SETT_COUNT)
		return 0;
	const struct bt_set_type *t = &f->types[masked(w->type, 15)];
	if (!t->known)
		return 0;
	if (w->type <= SETT_BITMAP_PORT)
		return set_bitmap(c, t);

	__builtin_memset(w->key, 0, sizeof(w->key));
	w->ip = w->addr[sides & 1];
	w->ip2 = w->addr[t->port == SET_NO_8 ? sides >> 1 & 1 : sides >> 2 & 1];
	if (t->bitmask != SET_NO_16) {
		w->ip = and_kernel(w->ip, w->data + t->bitmask);
		w->ip2 = and_kernel(w->ip2, w->data + t->bitmask);
		if (t->nets == SET_NO_16 && addr_zero(w->ip))
			return 0;
	}
	put_addr(w, t->ip, w->ip);
	put_addr(w, t->ip2, w->ip2);
	if (t->port != SET_NO_8) {
		if (!w->has_port)
			return 0;
		*(__u16 *)((__u8 *)w->key + masked(t->port, 0x3e)) = w->port[sides >> 1 & 1];
		put_8(w, t->proto, w->proto);
	}
	if (t->mark != SET_NO_8)
		w->key[masked(t->mark >> 2, 15)] = w->mark & k32(w->data + t->markmask);
	if (t->mac != SET_NO_8) {
		__u64 mac = w->mac[w->type == SETT_HASH_MAC ? sides & 1 : sides >> 1 & 1];
		if (!mac)
			return 0;
		__u32 at = masked(t->mac >> 2, 15);
		w->key[at] = mac;
		w->key[at + 1] = mac >> 32;
	}
	if (t->nets == SET_NO_16)
		return set_bucket(c, t) ? SET_ON : 0;
	if (t->iface != SET_NO_8) {
		if (!w->iface[0])
			return 0;
		put_8(w, t->elem, 1);
	}
	w->phase = SET_PREFIX;
	return SET_ON;
}

/* The next prefix. What stands there is one more than its length. */
static __always_inline int set_prefix(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	const struct bt_set_type *t = &c->f->types[masked(w->type, 15)];
	__u64 nets = w->data + t->nets;
	__u32 a, b = 0;

	if (w->multi || w->j >= t->nlen)
		return 0;
	a = k8(nets + w->j * t->stride + t->cidr_at);
	if (!a)
		return 0;
	if (t->cidr2 != SET_NO_8) {
		b = w->k < t->nlen ? k8(nets + w->k * t->stride + t->cidr_at + 1) : 0;
		if (!b) {
			w->j++;
			w->k = 0;
			return SET_ON;
		}
		w->k++;
		put_addr(w, t->ip, cut(w->ip, a - 1));
		put_addr(w, t->ip2, cut(w->ip2, b - 1));
		put_8(w, t->cidr, a - 1);
		put_8(w, t->cidr2, b - 1);
	} else {
		w->j++;
		/* Of hash:ip,port,net it is the second address. */
		if (t->ip2 != SET_NO_8)
			put_addr(w, t->ip2, cut(w->ip2, a - 1));
		else
			put_addr(w, t->ip, cut(w->ip, a - 1));
		put_8(w, t->cidr, t->packed ? a - 2 : a - 1);
	}
	set_bucket(c, t);
	return SET_ON;
}

/* Whether the device's name is the element's, or begins with it. */
static __always_inline bool set_iface(struct bt_set_walk *w, const struct bt_set_type *t, __u64 elem)
{
	__u64 a = k64(elem + t->iface), b = k64(elem + t->iface + 8), in_a = before_end(a), in_b = before_end(b);

	if (in_a != ~0ull)
		in_b = 0;
	if (t->wildcard != SET_NO_8 && k8(elem + t->wildcard))
		return !((w->iface[0] ^ a) & in_a) && !((w->iface[1] ^ b) & in_b);
	return w->iface[0] == (a & in_a) && w->iface[1] == (b & in_b);
}

static __always_inline int set_elem(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	const struct bt_set_type *t = &c->f->types[masked(w->type, 15)];
	__u32 i = w->i, flag = t->packed ? 0x80 : 0xff, last = 0;

	if (i >= w->pos || i >= 64) {
		w->phase = SET_PREFIX;
		return t->nets == SET_NO_16 ? 0 : SET_ON;
	}
	w->i = i + 1;
	if (!(w->used >> i & 1))
		return SET_ON;
	__u64 elem = w->bucket + c->f->value + w->dsize * i;
	for (int n = 0; n < 12; n++) {
		if (n >= t->words)
			break;
		__u32 differs = k32(elem + 4 * n) ^ w->key[n];
		if (n == t->nomatch >> 2)
			differs &= ~(flag << 8 * (t->nomatch & 3));
		if (!differs)
			continue;
		if (t->iface == SET_NO_8 || n + 1 != t->words)
			return SET_ON;
		last = differs;
	}
	if (t->iface != SET_NO_8) {
		/* Once a prefix has the address, shorter ones are not asked, whatever the devices. */
		if (last & 0xffu << 8 * (t->cidr & 3))
			return SET_ON;
		w->multi = 1;
		if (last || !set_iface(w, t, elem))
			return SET_ON;
	}
	if (!set_extensions(c, elem)) {
		w->multi = 0;
		return SET_ON;
	}
	return t->nomatch != SET_NO_8 && k8(elem + t->nomatch) & flag ? -1 : 1;
}

/* The next set of the list. */
static __always_inline int set_member(struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	__u32 at;

	w->node = k64(w->node);
	if (!w->node || w->node == w->head) {
		w->found = 0;
		return 0;
	}
	at = k16(w->node - c->f->elem_list + c->f->elem_id);
	w->set = at < w->max ? k64(w->list + 8ull * at) : 0;
	if (w->set)
		w->phase = SET_ENTER;
	return SET_ON;
}

static long set_step(__u32 n, struct set_ctx *c)
{
	struct bt_set_walk *w = c->w;
	int r;

	switch (w->phase) {
	case SET_ENTER:
		r = set_enter(c);
		break;
	case SET_PREFIX:
		r = set_prefix(c);
		break;
	case SET_ELEM:
		r = set_elem(c);
		break;
	default:
		r = set_member(c);
		if (r != SET_ON)
			return 1;
	}
	if (r == SET_ON)
		return 0;
	if (w->rule.flags & SETF_RETURN_NOMATCH && w->features & SET_FEATURE_NOMATCH)
		r = -r;
	w->found = r > 0;
	if (!w->outer)
		return 1;
	if (r > 0) {
		__u64 elem = w->node - c->f->elem_list;
		if (!(w->outer_ext & SET_EXT_TIMEOUT && set_expired(elem + w->outer_timeout)) &&
		    (!(w->outer_ext & SET_EXT_COUNTER) || set_counters(c, elem + w->outer_counter)))
			return 1;
	}
	w->found = 0;
	w->phase = SET_MEMBER;
	return 0;
}

/* What stands for ports: as ip_set_getport.c. */
static __always_inline void set_ports(struct __sk_buff *skb, struct bt_pkt *p, struct bt_set_walk *w)
{
	__u8 icmp[8];

	w->proto = p->proto;
	w->port[0] = w->port[1] = 0;
	w->has_port = 0;
	if (BT_FAMILY == 6 ? p->flags & P_BAD_EXT || p->proto == 59 || p->frag_off : !p->proto)
		return;
	switch (p->proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
		if (p->frag_off || p->flags & P_TRUNC || !(p->flags & P_PORTS))
			return;
		w->port[0] = bpf_htons(p->dport);
		w->port[1] = bpf_htons(p->sport);
		break;
	case 58:
		if (BT_FAMILY == 4 && p->frag_off)
			break;
		/* fallthrough */
	case 1:
		if (p->frag_off || l4_bytes(p) < sizeof(icmp) || bpf_skb_load_bytes(skb, l4_at(p), icmp, sizeof(icmp)))
			return;
		w->port[0] = w->port[1] = icmp[0] | (__u16)icmp[1] << 8;
	}
	w->has_port = 1;
}

/* The link addresses of the frame that the packet came in by. */
static __always_inline void set_macs(struct __sk_buff *skb, struct bt_pkt *p, struct bt_set_walk *w, struct net___k *net)
{
	w->mac[0] = w->mac[1] = 0;
	if (!(p->img_flags & IMG_MAC))
		return;
	if (p->hook == H_FWD || p->hook == H_POST) {
		if (p->flags & P_LOCAL || p->mac_known <= 0)
			return;
		w->mac[1] = p->mac;
		/* What is forwarded was sent to its device. */
		__u64 dev = device_at(net, p->ifin, 16);
		if (!dev)
			return;
		struct net_device___sets *d = kernel_object(dev, bpf_core_type_id_kernel(struct net_device));
		__u64 at = (__u64)d->dev_addr;
		w->mac[0] = k32(at) | (__u64)k16(at + 4) << 32;
	} else if (p->hook != H_OUT && p->l2len == ETH_HLEN) {
		if (bpf_skb_load_bytes(skb, 0, &w->mac[0], 6))
			w->mac[0] = 0;
		if (bpf_skb_load_bytes(skb, 6, &w->mac[1], 6))
			w->mac[1] = 0;
	}
}

static __always_inline void set_device(struct __sk_buff *skb, struct bt_pkt *p, struct bt_set_walk *w, struct net___k *net)
{
	__u32 index = w->rule.sides & 2 ? p->ifin : p->ifout;
	struct sk_buff *k = kernel_skb(skb);
	__u64 dev = index == skb->ifindex ? (__u64)k->dev : 0;

	w->iface[0] = w->iface[1] = 0;
	if (!index)
		return;
	if (!dev)
		dev = device_at(net, index, 16);
	if (!dev)
		return;
	dev += bpf_core_field_offset(struct net_device, name);
	__u64 a = k64(dev), b = k64(dev + 8), in_a = before_end(a);
	w->iface[0] = a & in_a;
	w->iface[1] = in_a == ~0ull ? b & before_end(b) : 0;
}

/* at: line of bt_set_params, hint: the rule's state line. */
__noinline int bt_op_set(struct __sk_buff *skb, __u32 how, __u32 at, __u32 hint)
{
	keep_arg(skb);
	struct bt_pkt *p = pkt();
	__u32 zero = 0;
	struct set_ctx c = {
		.w = bpf_map_lookup_elem(&bt_set_scratch, &zero),
		.f = bpf_map_lookup_elem(&bt_sets, &zero),
	};
	bool invert = how & OPF_INVERT;

	if (!p || !c.w || !c.f)
		return -1;
	struct bt_set_walk *w = c.w;
	struct bt_line *l = state_line(p, at), *h = state_line(p, hint);
	if (!l || !h)
		return -1;
	struct net___k *net = net_of(skb);
	struct net___sets *n = (void *)net;
	__u64 gen = (__u64)n->gen;
	__u64 inst = c.f->net_id ? k64(gen + 8ull * c.f->net_id) : 0;

	/* A set that is not there has nothing. */
	if (!inst)
		return invert;
	w->list = k64(inst + c.f->net_list);
	w->max = k16(inst + c.f->net_max);
	__builtin_memcpy(&w->rule, l, sizeof(w->rule));
	set_find(&c, h);
	if (!w->set)
		return invert;
	w->addr[0] = p->daddr;
	w->addr[1] = p->saddr;
	w->mark = p->mark;
	w->outer = 0;
	w->found = 0;
	w->phase = SET_ENTER;
	set_ports(skb, p, w);
	set_macs(skb, p, w, net);
	if (w->rule.dim > 1)
		set_device(skb, p, w, net);
	bpf_loop(SET_STEPS, set_step, &c, 0);
	return (w->found != 0) != invert;
}
