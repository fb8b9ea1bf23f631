/* SPDX-License-Identifier: GPL-2.0-only */
/* The table of connections: numbers, lookups, making and ending. Keys: ct_keys.h.
 *
 * There are no timers. A connection past its time is ended by whoever meets it: a lookup, or the scan of a few slots that each
 * creation does. Ended numbers rest GRACE in a queue before they are used again, so a program on another CPU that still holds one
 * reads old data, never another connection's.
 *
 * What user space does:
 * - sizes: bt_conns and bt_free_conns max_conns + max_conns / 4, bt_tuples as abi::conn::tuple_lines says; control.max_conns is the limit.
 * - lists: slots whose status has ST_LIVE and ST_CONFIRMED, not ST_DYING, and whose `expires` is to come (CLOCK_MONOTONIC).
 * - ends a connection (flush; UDP whose rule `dnat_slot` is gone; masqueraded by a device that lost its address): an atomic or of
 *   ST_DYING into `status` through the mapping, nothing else. The programs never follow it again, and free it when they meet it.
 *   Slots that are not ST_LIVE must not be touched. */
#pragma once

#include "ct_state.h"

/* Bits of `status` that only the programs change. */
#define ST_REAPED (1u << 17)    /* keys are being removed */
#define ST_KEY_REPLY (1u << 18) /* the reply key is in the table */
#define ST_KEY_MID (1u << 19)   /* the key between translations is */
#define ST_KEY_ORIG (1u << 20)  /* the original key is */
#define ST_AT_INPUT (1u << 23)  /* INPUT confirmed it, and nothing shows yet that the stack took its packets (bt_ct_reopen) */
#define ST_LEFT (1u << 24)      /* its packet was dropped, while copies of it may be under way: the next packet begins anew unless one confirms it */
#define ST_NAT_BITS (ST_SRC_NAT | ST_DST_NAT)
/* What an ended connection keeps, for the packets that still carry it. */
#define ST_KEPT (ST_SEEN_REPLY | ST_ASSURED | ST_CONFIRMED | ST_NAT_BITS | ST_SRC_NAT_DONE | ST_DST_NAT_DONE | ST_ACCT | ST_LABELS)

#define SEC_NS 1000000000ULL
#define CT_GRACE (200 * 1000000ULL)
#define CT_UNCONFIRMED (5 * SEC_NS) /* longer than the kernel waits for a neighbour */
#define CT_SCAN 4
#define CT_SCAN_FULL 128
#define CT_NUMBERS (1u << 26)

#define IPPROTO_GRE 47
#define GRE_SECS 30
#define GRE_STREAM_SECS 180

/* A caller in this object would leave an argument that is not used unset, which the verifier refuses. */
#define ARG_USED(a) asm volatile("" : : "r"(a))

/* Of an unconfirmed connection: seconds it will live once confirmed, and packets under way. */
#define CT_TIMEOUT(c) (((__u32 *)&(c)->reserved[0])[0])
#define CT_REFS(c) (((__u32 *)&(c)->reserved[0])[1])
/* 128 bits. */
#define CT_LABELS(c) (&(c)->reserved[1])

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 1024);
	__uint(value_size, 4);
} bt_free_conns SEC(".maps");

struct bt_ct_global {
	__u32 bump, cursor, live, limits;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_ct_global);
} bt_ct_globals SEC(".maps");

/* A source that is translated, in its connection's zone. */
struct bt_nat_src_key {
	bt_addr saddr;
	__u16 sport;
	__u8 proto, pad;
	__u16 zone, pad2;
};

/* The tracker's scratch: valid within one program run. */
struct bt_ctx {
	struct bt_tuple t; /* of the packet, or of the packet inside an ICMP error */
	struct bt_tuple u; /* under search for a free one, as in the original direction */
	/* Not on the stack, which calls share. k: a key, of whoever looks up or deletes one, until the next does. */
	struct bt_tuple k, cur;
	/* Where `k` is in the table of tuples. */
	__u64 k_way;
	__u32 k_line[2];
	__u64 now;
	__u32 l4off, l4len;       /* offset in the skb, bytes of L4 */
	__u32 seq, ack, end, win; /* TCP, host order */
	__u16 frag_real;          /* fragment offset of the packet itself; bt_frag hides it from rules */
	__u8 doff;                /* TCP header bytes */
	__u8 tflags;
	__u8 icmp_type, icmp_code;
	/* A later fragment's, from its first. */
	__u8 f_info, f_dir;
	__u32 f_ct;
	__u32 tcp[4]; /* of tcp_locked */
	/* TCP options. */
	__u8 o_flags, o_scale, o_done, o_any;
	__u32 o_sack, o_at, o_len;
	__u8 opt[64];
	/* Port search. */
	__u16 zone[2];   /* of the packet's directions: of the original, of the reply */
	__u16 n_zone;
	__u8 refreshed, n_pad; /* refreshed: the packet counts for its connection */
	__u32 n_conn, n_min, n_range, n_off, n_tries, n_span, n_end, n_found, n_manip, n_src;
	struct bt_nat_params r;
	struct bt_nat_src_key src;
	bt_addr to; /* what bt_nat_inner and bt_nat_outer write */
	/* Checksums. */
	__u32 c_sum, c_at, c_left;
	__u8 buf[256] __attribute__((aligned(8)));
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bt_ctx);
} bt_ct_scratch SEC(".maps");

/* CLOCK_MONOTONIC, exact to a tick: timeouts are seconds. */
static __always_inline __u64 ct_now(void)
{
	return bpf_ktime_get_coarse_ns();
}

static __always_inline struct bt_ctx *ctx_(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_ct_scratch, &zero);
}

/* What connections have carried, by number. User space puts the map in when rules first ask for it. */
struct bt_acct_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_INNER_MAP);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct bt_acct));
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct bt_acct_map);
} bt_accts SEC(".maps");

static __always_inline struct bt_acct *ct_acct_at(__u32 i)
{
	__u32 zero = 0;
	void *map = bpf_map_lookup_elem(&bt_accts, &zero);

	return map ? bpf_map_lookup_elem(map, &i) : NULL;
}

static __always_inline struct bt_ct_global *ct_global(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&bt_ct_globals, &zero);
}

#include "ct_keys.h"

static __always_inline bool tuple_eq(const struct bt_tuple *a, const struct bt_tuple *b)
{
	return same_ends(a, b) && a->zone == b->zone;
}

/* The ICMP type that answers or asked for `type`; 255: it has no partner. */
static __always_inline __u32 icmp_partner(__u32 type)
{
	switch (type) {
#if BT_FAMILY == 6
	case 128: return 129;
	case 129: return 128;
	case 139: return 140;
	case 140: return 139;
#else
	case 0: return 8;
	case 8: return 0;
	case 13: return 14;
	case 14: return 13;
	case 15: return 16;
	case 16: return 15;
	case 17: return 18;
	case 18: return 17;
#endif
	default: return 255;
	}
}

/* Whether an ICMP message of this type may open a connection. */
static __always_inline bool icmp_opens(__u32 type)
{
	return BT_FAMILY == 6 ? type == 128 || type == 139 : type == 8 || type == 13 || type == 15 || type == 17;
}

/* The tuple of the other direction, in the same zone, into another place. */
static __always_inline void tuple_invert(struct bt_tuple *to, const struct bt_tuple *from)
{
	to->saddr = from->daddr;
	to->daddr = from->saddr;
	to->proto = from->proto;
	to->kind = 0;
	to->zone = from->zone;
	if (from->proto == BT_ICMP) {
		to->sport = from->sport;
		to->dport = icmp_partner(from->dport >> 8) << 8 | (from->dport & 255);
	} else {
		to->sport = from->dport;
		to->dport = from->sport;
	}
}

/* A tuple as a key of this kind, into scratch `k`. */
static __always_inline void key_set(struct bt_ctx *x, const struct bt_tuple *t, __u8 kind)
{
	x->k = *t;
	x->k.kind = kind;
	if (kind)
		x->k.zone = 0;
}

/* Removes a key of connection `i`. */
static __always_inline void key_delete(struct bt_ctx *x, const struct bt_tuple *t, __u32 i, __u8 kind)
{
	key_set(x, t, kind);
	bt_key_remove(i);
}

static __always_inline bool ct_zoned(const struct bt_conn *c)
{
	return c->orig.zone | c->reply.zone;
}

/* The key by which a tuple of a connection is found whatever its zone; the newest connection has it. */
static __always_inline void key_zoned(struct bt_ctx *x, const struct bt_tuple *t, __u32 val)
{
	key_set(x, t, KEY_ZONED);
	bt_key_claim(val);
}

/* The key between both translations. */
static __always_inline void mid_key(struct bt_tuple *to, const struct bt_conn *c)
{
	to->saddr = c->orig.saddr;
	to->sport = c->orig.sport;
	to->daddr = c->reply.saddr;
	to->dport = c->reply.sport;
	if (c->orig.proto == BT_ICMP) {
		to->sport = c->reply.sport;
		to->dport = c->orig.dport;
	}
	to->proto = c->orig.proto;
	to->kind = KEY_MID;
	to->zone = 0;
}

static __always_inline bool ct_dead(const struct bt_conn *c, __u64 now)
{
	return (c->status & ST_DYING) || (__s64)(c->expires - now) <= 0;
}

/* Ends connection `i`: removes its keys and lets the number rest. Once only, whoever is first. Returns 1 if it did. */
__noinline int bt_ct_reap(__u32 i)
{
	struct bt_conn *c = bt_conn_at(i);
	struct bt_ct_global *g = ct_global();
	struct bt_control *ctl = control();
	struct bt_ctx *x = ctx_();
	__u32 old, turn;

	if (!c || !g || !x || !ctl)
		return 0;
	if (!(c->status & ST_LIVE))
		return 0;
	old = __sync_fetch_and_or(&c->status, ST_DYING | ST_REAPED);
	if (!(old & ST_LIVE) || (old & ST_REAPED))
		return 0;
	/* By a loop, for calls would be too deep. */
#pragma clang loop unroll(disable)
	for (turn = 0; turn < 5; turn++) {
		/* What does not change would be computed before, and kept on the stack. */
		asm volatile("" : "+r"(c), "+r"(old));
		if (turn == 0 && (old & ST_KEY_ORIG))
			key_set(x, &c->orig, 0);
		else if (turn == 1 && (old & ST_KEY_REPLY))
			key_set(x, &c->reply, 0);
		else if (turn == 2 && (old & ST_KEY_MID))
			mid_key(&x->k, c);
		else if (turn >= 3 && ct_zoned(c))
			key_set(x, turn == 3 ? &c->orig : &c->reply, KEY_ZONED);
		else
			continue;
		key_remove(x, ctl, i);
	}
	c->expires = bpf_ktime_get_ns() + CT_GRACE;
	__sync_lock_test_and_set(&c->status, old & ST_KEPT);
	__sync_fetch_and_add(&g->live, -1);
	bpf_map_push_elem(&bt_free_conns, &i, 0);
	return 1;
}

/* Looks scratch `t` up. Returns (number + 1) << 1 | direction, 0 if there is none. Ends what it finds dead. */
__noinline int bt_ct_lookup(__u32 kind)
{
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 hit;

	if (!x)
		return 0;
	key_set(x, &x->t, kind);
	hit = bt_key_find(0);
	if (!hit)
		return 0;
	c = bt_conn_at((hit >> 1) - 1);
	if (!c)
		return 0;
	if (ct_dead(c, x->now)) {
		bt_ct_reap((hit >> 1) - 1);
		return 0;
	}
	return hit;
}

static long scan_cb(__u32 n, void *data)
{
	struct bt_ct_global *g = ct_global();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 bump, i;
	bool soft;

	if (!g || !x)
		return 1;
	bump = g->bump;
	if (!bump)
		return 1;
	i = (x->n_off + n) % bump;
	c = bt_conn_at(i);
	if (!c || !(c->status & ST_LIVE))
		return 0;
	if (ct_dead(c, x->now)) {
		if (bt_ct_reap(i))
			x->n_found++;
		return x->n_found && *(__u32 *)data;
	}
	if (!*(__u32 *)data)
		return 0;
	/* Full: one that is not assured, or a connection of TCP or SCTP that is closing, makes room. */
	soft = !(c->status & ST_ASSURED) ||
	       (c->orig.proto == IPPROTO_TCP && c->tcp_state >= 4 && c->tcp_state <= 8) ||
	       (c->orig.proto == IPPROTO_SCTP && c->tcp_state >= 5 && c->tcp_state <= 7);
	/* An unconfirmed one is a packet under way; after a second it hardly is. */
	soft = soft && ((c->status & ST_CONFIRMED) || x->now - c->born > SEC_NS);
	if (soft && bt_ct_reap(i)) {
		stat_add(STAT_CONN_EARLY_DROP);
		x->n_found++;
		return 1;
	}
	return 0;
}

/* Looks over a few slots for connections past their time; `full`: until one made room, early drop included. */
__noinline int bt_ct_scan(__u32 full)
{
	struct bt_ct_global *g = ct_global();
	struct bt_ctx *x = ctx_();
	__u32 n = full ? CT_SCAN_FULL : CT_SCAN;

	if (!g || !x)
		return 0;
	x->n_off = __sync_fetch_and_add(&g->cursor, n);
	if (x->n_off >= g->bump) {
		/* From the beginning: the remainder of a growing number's multiple would be the same slots each time. */
		x->n_off = 0;
		g->cursor = n;
	}
	x->n_found = 0;
	bpf_loop(n, scan_cb, &full, 0);
	return x->n_found;
}

/* A free number + 1, or 0. */
__noinline int bt_ct_alloc(__u32 unused)
{
	struct bt_control *ctl = control();
	struct bt_ct_global *g = ct_global();
	struct bt_ctx *x = ctx_();
	struct bt_conn *c;
	__u32 i;

	ARG_USED(unused);
	if (!g || !x || !ctl)
		return 0;
	if (g->live >= ctl->max_conns && !bt_ct_scan(1))
		return 0;
	if (!bpf_map_pop_elem(&bt_free_conns, &i)) {
		c = bt_conn_at(i);
		if (c && (__s64)(c->expires - x->now) <= 0)
			goto found;
		bpf_map_push_elem(&bt_free_conns, &i, 0);
	}
	i = g->bump;
	if (i >= CT_NUMBERS || !bt_conn_at(i))
		return 0;
	i = __sync_fetch_and_add(&g->bump, 1);
	if (!bt_conn_at(i)) {
		__sync_fetch_and_add(&g->bump, -1);
		return 0;
	}
found:
	__sync_fetch_and_add(&g->live, 1);
	return i + 1;
}

static long spin_cb(__u32 n, void *data)
{
	struct bt_conn *c = bt_conn_at(*(__u32 *)data);

	if (!c)
		return 1;
	if (__sync_val_compare_and_swap(&c->lock, 0, 1) == 0) {
		*(__u32 *)data = ~0u;
		return 1;
	}
	return 0;
}

/* Waits for a connection's lock. Returns 1 when held. */
__noinline int bt_ct_spin(__u32 i)
{
	bpf_loop(1 << 15, spin_cb, &i, 0);
	return i == ~0u;
}

static __always_inline bool ct_lock(struct bt_conn *c, __u32 i)
{
	if (__sync_val_compare_and_swap(&c->lock, 0, 1) == 0)
		return true;
	return bt_ct_spin(i);
}

static __always_inline void ct_unlock(struct bt_conn *c)
{
	__sync_lock_test_and_set(&c->lock, 0);
}

static __always_inline void ct_refresh(struct bt_conn *c, __u64 now, __u32 secs)
{
	if (c->status & ST_CONFIRMED)
		c->expires = now + secs * SEC_NS;
	else
		CT_TIMEOUT(c) = secs;
}

/* Puts the reply key of connection `i` in the table. 0: done, -1: another connection has it. */
static __always_inline int key_claim_reply(struct bt_ctx *x, struct bt_conn *c, __u32 i)
{
	__u32 old;

	key_set(x, &c->reply, 0);
	if (bt_key_claim(i << 1 | 1))
		return -1;
	old = __sync_fetch_and_or(&c->status, ST_KEY_REPLY);
	if (!(old & ST_LIVE) || (old & ST_REAPED)) {
		key_delete(x, &c->reply, i, 0);
		return -1;
	}
	return 0;
}
