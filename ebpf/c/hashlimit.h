/* SPDX-License-Identifier: GPL-2.0-only */
/* `-m hashlimit`, as xt_hashlimit's revision 3: a bucket for each group of packets, filled as time goes.
 *
 * A table is named by its rules' --hashlimit-name and lives while a rule names it. What its buckets begin with is of the rule that made
 * it; each rule asks in its own way. The arithmetic is the kernel's for HZ of 250: credits come in ticks of 4 ms (of HZ 1000 they are as
 * many in a second).
 *
 * Buckets that nobody asked for since `expire` are gone at the table's next collection, a multiple of `gc` after the table was made, as
 * the kernel's are. Here they are begun anew when they are met, and removed when there is no room.
 *
 * What user space owes, for each table by its number (OP_HASHLIMIT's b): before the commit that names it, the table in
 * bt_hashlimit_tables and a map of --hashlimit-htable-max buckets in bt_hashlimits; later the removal of both. */
#pragma once

#include "bt.h"
#include "ops_arg.h"

#define HL_TICK_NS 4000000
#define HL_HZ 250
#define HL_CREDITS (1ULL << 39)      /* a tick's, of packets */
#define HL_BYTE_CREDITS (1ULL << 24) /* a tick's, of bytes */
#define HL_BYTE_CAP (HL_BYTE_CREDITS * HL_HZ)
#define HL_SPINS (1 << 20)
#define HL_TABLES 256

/* What a bucket holds: of a rate that is matched, words 0 to 3 are interval | over << 32, the current count, the rate and the burst; else
 * credit, cap and cost. */
struct bt_hashlimit_entry {
	__u32 lock, pad;
	__u64 prev, expires; /* ticks */
	__u64 rate[4];
};

struct bt_hashlimit_key {
	bt_addr src, dst;
	__u16 sport, dport;
};

_Static_assert(sizeof(struct bt_hashlimit_entry) == 56, "abi::maps::HASHLIMIT_ENTRY");
_Static_assert(sizeof(struct bt_hashlimit_key) == (BT_FAMILY == 6 ? 36 : 12), "user space makes maps of such keys");

struct bt_hashlimit_map {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, sizeof(struct bt_hashlimit_key));
	__uint(value_size, sizeof(struct bt_hashlimit_entry));
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, HL_TABLES);
	__type(key, __u32);
	__array(values, struct bt_hashlimit_map);
} bt_hashlimits SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, HL_TABLES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, struct bt_hashlimit_table);
} bt_hashlimit_tables SEC(".maps");

static __always_inline bt_addr hl_addr(bt_addr addr, const __u32 *mask)
{
#if BT_FAMILY == 6
	for (int i = 0; i < 4; i++)
		addr.w[i] &= mask[i];
	return addr;
#else
	return addr & mask[0];
#endif
}

/* Where ports stand behind the network header, or what is taken for them; -1: nowhere. */
static __always_inline int hl_ports_at(__u32 proto)
{
	switch (proto) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_DCCP:
	case 50: /* ESP: its SPI */
	case IPPROTO_SCTP:
	case IPPROTO_UDPLITE:
		return 0;
	case 51: /* AH */
		return 4;
	}
	return -1;
}

/* 0, or -1: a header that is cut short. */
static __always_inline int hl_key(struct __sk_buff *skb, const struct bt_pkt *p, const struct bt_hashlimit_table *t,
				  struct bt_hashlimit_key *key)
{
	__u16 ports[2];
	int at;

	if (t->mode & HASHLIMIT_SOURCE)
		key->src = hl_addr(p->saddr, t->smask);
	if (t->mode & HASHLIMIT_DESTINATION)
		key->dst = hl_addr(p->daddr, t->dmask);
	if (!(t->mode & (HASHLIMIT_SOURCE_PORT | HASHLIMIT_DESTINATION_PORT)))
		return 0;
	if (BT_FAMILY == 6 && (p->flags & P_BAD_EXT || p->proto == 59))
		return -1;
	if (p->flags & P_PORTS) {
		ports[0] = bpf_htons(p->sport);
		ports[1] = bpf_htons(p->dport);
	} else {
		at = hl_ports_at(p->proto);
		if (at < 0 || (BT_FAMILY == 6 && p->frag_off))
			return 0;
		if (p->len && (__u32)p->ihl + at + 4 > p->len)
			return -1;
		if (bpf_skb_load_bytes(skb, (__u32)p->l2len + p->ihl + at, ports, 4))
			return -1;
	}
	if (t->mode & HASHLIMIT_SOURCE_PORT)
		key->sport = ports[0];
	if (t->mode & HASHLIMIT_DESTINATION_PORT)
		key->dport = ports[1];
	return 0;
}

struct hl_walk {
	struct bt_hashlimit_table *table;
	struct bt_hashlimit_entry *entry;
	__u64 now;
};

/* Whether a collection came since the bucket was over. */
static __always_inline bool hl_expired(const struct bt_hashlimit_table *t, const struct bt_hashlimit_entry *e, __u64 now)
{
	__u64 gc = t->gc ? t->gc : 1;

	if ((__s64)(now - e->expires) < 0)
		return false;
	return (now - t->born) / gc > (e->expires - 1 - t->born) / gc;
}

static long hl_collect(void *map, const struct bt_hashlimit_key *key, struct bt_hashlimit_entry *e, struct hl_walk *w)
{
	if (hl_expired(w->table, e, w->now))
		bpf_map_delete_elem(map, key);
	return 0;
}

static long hl_spin(__u32 n, struct hl_walk *w)
{
	return __sync_lock_test_and_set(&w->entry->lock, 1) == 0;
}

static __always_inline void hl_begin(struct bt_hashlimit_entry *e, const struct bt_hashlimit_table *t, __u64 now)
{
	e->prev = now;
	e->rate[0] = t->rate[0];
	e->rate[1] = t->rate[1];
	e->rate[2] = t->rate[2];
	e->rate[3] = t->rate[3];
}

static __always_inline void hl_refill(struct bt_hashlimit_entry *e, const struct bt_hashlimit_table *t, __u64 now)
{
	__u64 delta = now - e->prev, before, cap;

	/* Another CPU may have read the clock later than we did. */
	if ((__s64)delta <= 0)
		return;
	if (t->mode & HASHLIMIT_RATE_MATCH) {
		__u64 interval = (__u32)((__u32)e->rate[0] * HL_HZ);
		if (delta < interval)
			return;
		e->prev = now;
		e->rate[0] = (__u32)e->rate[0] | (__u64)(e->rate[1] * interval > delta * e->rate[2]) << 32;
		e->rate[1] = 0;
		return;
	}
	e->prev = now;
	before = e->rate[0];
	if (t->mode & HASHLIMIT_BYTES) {
		cap = HL_BYTE_CAP;
		e->rate[0] += delta * HL_BYTE_CREDITS;
		if (before >= e->rate[0]) {
			e->rate[0] = cap;
			return;
		}
	} else {
		cap = e->rate[1];
		e->rate[0] += delta * HL_CREDITS;
	}
	if (e->rate[0] > cap)
		e->rate[0] = cap;
}

/* Whether the packet is below the limit; takes what it costs then. */
static __always_inline bool hl_below(struct bt_hashlimit_entry *e, __u32 mode, __u32 bytes)
{
	__u64 cost;

	if (mode & HASHLIMIT_RATE_MATCH) {
		e->rate[1] += mode & HASHLIMIT_BYTES ? bytes : 1;
		return !(e->rate[0] >> 32) && e->rate[1] <= e->rate[3];
	}
	cost = e->rate[2];
	if (mode & HASHLIMIT_BYTES) {
		cost *= (bytes >> 4) + 1;
		if (cost > HL_BYTE_CAP)
			cost = HL_BYTE_CAP;
		if (e->rate[0] < cost && e->rate[1]) {
			e->rate[1]--;
			e->rate[0] = HL_BYTE_CAP;
		}
		cost = (__u32)cost;
	}
	if (e->rate[0] < cost)
		return false;
	e->rate[0] -= cost;
	return true;
}

/* The bucket of `key`, made if there is none; NULL: no room for one. */
static __always_inline struct bt_hashlimit_entry *hl_entry(void *map, const struct bt_hashlimit_key *key, struct hl_walk *w)
{
	struct bt_hashlimit_table *t = w->table;
	struct bt_hashlimit_entry fresh = {}, *e;
	__u64 turn, swept;

	e = bpf_map_lookup_elem(map, key);
	if (e)
		return e;
	hl_begin(&fresh, t, w->now);
	fresh.expires = w->now + t->expire;
	if (bpf_map_update_elem(map, key, &fresh, BPF_NOEXIST)) {
		e = bpf_map_lookup_elem(map, key);
		if (e)
			return e;
		/* Full: what a collection would have removed goes, once for each. */
		turn = (w->now - t->born) / (t->gc ? t->gc : 1);
		swept = t->swept;
		if (swept == turn || __sync_val_compare_and_swap(&t->swept, swept, turn) != swept)
			return NULL;
		bpf_for_each_map_elem(map, hl_collect, w, 0);
		bpf_map_update_elem(map, key, &fresh, BPF_NOEXIST);
	}
	return bpf_map_lookup_elem(map, key);
}

/* `id`: the table. how's a: HASHLIMIT_* of the rule. */
__noinline int bt_op_hashlimit(struct __sk_buff *skb, __u32 how, __u32 id)
{
	struct bt_hashlimit_key key = {};
	struct bt_pkt *p = pkt();
	struct hl_walk w = {};
	bool below;
	void *map;

	map = bpf_map_lookup_elem(&bt_hashlimits, &id);
	w.table = bpf_map_lookup_elem(&bt_hashlimit_tables, &id);
	if (!p || !map || !w.table || hl_key(skb, p, w.table, &key))
		return -1;
	w.now = bpf_ktime_get_ns() / HL_TICK_NS;
	w.entry = hl_entry(map, &key, &w);
	if (!w.entry)
		return -1;
	if (bpf_loop(HL_SPINS, hl_spin, &w, 0) >= HL_SPINS)
		return -1;
	if (hl_expired(w.table, w.entry, w.now))
		hl_begin(w.entry, w.table, w.now);
	else
		hl_refill(w.entry, w.table, w.now);
	w.entry->expires = w.now + w.table->expire;
	below = hl_below(w.entry, how >> 16, p->nbytes);
	__sync_lock_test_and_set(&w.entry->lock, 0);
	return below != (how & OPF_INVERT);
}
