/* SPDX-License-Identifier: GPL-2.0-only */
/* SCTP as netfilter tracks it: which chunks may stand together, verification tags, and the states of an association.
 * States are numbered as the kernel's `enum sctp_conntrack`, as from Linux 6.2 on.
 *
 * In a connection: `tcp_state` is the state, `side[].end` are the tags that packets of a direction bear, as they stand in the packet,
 * `last_flags` are SCTPF_*, and `last_dir` is the direction of a heartbeat whose tag was another. */
#pragma once

#include "ct_table.h"

enum { sNO, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS, sIV = 15 };
enum {
	CHUNK_DATA = 0, CHUNK_INIT = 1, CHUNK_INIT_ACK = 2, CHUNK_HEARTBEAT = 4, CHUNK_HEARTBEAT_ACK = 5, CHUNK_ABORT = 6,
	CHUNK_SHUTDOWN = 7, CHUNK_SHUTDOWN_ACK = 8, CHUNK_ERROR = 9, CHUNK_COOKIE_ECHO = 10, CHUNK_COOKIE_ACK = 11,
	CHUNK_SHUTDOWN_COMPLETE = 14,
};

/* bt_conn.last_flags */
#define SCTPF_INIT(dir) (1u << (dir))
#define SCTPF_HEARTBEAT_FAILED 4

#define HAS(type) (1u << (type))
/* Chunks that change states; a packet that begins an association has no others, and none of the second kind. */
#define SCTP_STATES                                                                                                            \
	(HAS(CHUNK_INIT) | HAS(CHUNK_INIT_ACK) | HAS(CHUNK_HEARTBEAT) | HAS(CHUNK_HEARTBEAT_ACK) | HAS(CHUNK_ABORT) |           \
	 HAS(CHUNK_SHUTDOWN) | HAS(CHUNK_SHUTDOWN_ACK) | HAS(CHUNK_ERROR) | HAS(CHUNK_COOKIE_ECHO) | HAS(CHUNK_COOKIE_ACK) |    \
	 HAS(CHUNK_SHUTDOWN_COMPLETE))
#define SCTP_NEVER_FIRST (HAS(CHUNK_ABORT) | HAS(CHUNK_SHUTDOWN_COMPLETE) | HAS(CHUNK_COOKIE_ACK))
/* Chunks alone in their packet. */
#define SCTP_ALONE (HAS(CHUNK_INIT) | HAS(CHUNK_INIT_ACK) | HAS(CHUNK_SHUTDOWN_COMPLETE))
/* Chunks whose tags have rules of their own. */
#define SCTP_OWN_TAG                                                                                                           \
	(HAS(CHUNK_INIT) | HAS(CHUNK_SHUTDOWN_COMPLETE) | HAS(CHUNK_COOKIE_ECHO) | HAS(CHUNK_ABORT) | HAS(CHUNK_SHUTDOWN_ACK) | \
	 HAS(CHUNK_HEARTBEAT) | HAS(CHUNK_HEARTBEAT_ACK))

#define SCTP_ROW(a, b, c, d, e, f, g, h, i)                                                                                    \
	((__u64)(a) | (__u64)(b) << 4 | (__u64)(c) << 8 | (__u64)(d) << 12 | (__u64)(e) << 16 | (__u64)(f) << 20 |             \
	 (__u64)(g) << 24 | (__u64)(h) << 28 | (__u64)(i) << 32)

/* The state behind a chunk, by column: NO CL CW CE ES SS SR SA HS. */
static __always_inline __u32 sctp_next(__u32 dir, __u32 chunk, __u32 state)
{
	__u64 there, back;

	switch (chunk) {
	case CHUNK_INIT:
		there = SCTP_ROW(sCL, sCL, sCW, sCE, sES, sCL, sCL, sSA, sCW);
		back = SCTP_ROW(sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sIV);
		break;
	case CHUNK_INIT_ACK:
		there = SCTP_ROW(sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sCL);
		back = SCTP_ROW(sIV, sCW, sCW, sCE, sES, sSS, sSR, sSA, sIV);
		break;
	case CHUNK_ABORT:
		there = SCTP_ROW(sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sCL);
		back = SCTP_ROW(sIV, sCL, sCL, sCL, sCL, sCL, sCL, sCL, sIV);
		break;
	case CHUNK_SHUTDOWN:
		there = SCTP_ROW(sCL, sCL, sCW, sCE, sSS, sSS, sSR, sSA, sCL);
		back = SCTP_ROW(sIV, sCL, sCW, sCE, sSR, sSS, sSR, sSA, sIV);
		break;
	case CHUNK_SHUTDOWN_ACK:
		there = SCTP_ROW(sSA, sCL, sCW, sCE, sES, sSA, sSA, sSA, sSA);
		back = SCTP_ROW(sIV, sCL, sCW, sCE, sES, sSA, sSA, sSA, sIV);
		break;
	case CHUNK_ERROR:
		there = SCTP_ROW(sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sCL);
		back = SCTP_ROW(sIV, sCL, sCW, sCL, sES, sSS, sSR, sSA, sIV);
		break;
	case CHUNK_COOKIE_ECHO:
		there = SCTP_ROW(sCL, sCL, sCE, sCE, sES, sSS, sSR, sSA, sCL);
		back = SCTP_ROW(sIV, sCL, sCE, sCE, sES, sSS, sSR, sSA, sIV);
		break;
	case CHUNK_COOKIE_ACK:
		there = SCTP_ROW(sCL, sCL, sCW, sES, sES, sSS, sSR, sSA, sCL);
		back = SCTP_ROW(sIV, sCL, sCW, sES, sES, sSS, sSR, sSA, sIV);
		break;
	case CHUNK_SHUTDOWN_COMPLETE:
		there = SCTP_ROW(sCL, sCL, sCW, sCE, sES, sSS, sSR, sCL, sCL);
		back = SCTP_ROW(sIV, sCL, sCW, sCE, sES, sSS, sSR, sCL, sIV);
		break;
	case CHUNK_HEARTBEAT:
		there = SCTP_ROW(sHS, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS);
		back = SCTP_ROW(sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS);
		break;
	case CHUNK_HEARTBEAT_ACK:
		there = SCTP_ROW(sCL, sCL, sCW, sCE, sES, sSS, sSR, sSA, sHS);
		back = SCTP_ROW(sIV, sCL, sCW, sCE, sES, sSS, sSR, sSA, sES);
		break;
	default:
		return state;
	}
	return (dir == DIR_ORIG ? there : back) >> ((state & 15) * 4) & 15;
}

struct sctp_walk {
	struct __sk_buff *skb;
	__u32 at, end;
	__u32 count, seen; /* chunks so far; their types, of those below 32 */
	__u32 bad, strange; /* strange: some chunk changes no state */
	__u32 conn, dir;
	__u32 next, ignore;
};

/* No packet has more chunks than one of 4 bytes for each of its own. */
#define SCTP_CHUNKS (1 << 14)

/* The next chunk's header. */
static __always_inline bool sctp_chunk(const struct sctp_walk *w, __u8 *chunk)
{
	return w->at + 4 <= w->end && !bpf_skb_load_bytes(w->skb, w->at, chunk, 4);
}

static __always_inline __u32 sctp_chunk_bytes(const __u8 *chunk)
{
	return (((__u32)chunk[2] << 8 | chunk[3]) + 3) & ~3u;
}

static long sctp_look_cb(__u32 n, struct sctp_walk *w)
{
	__u8 chunk[4];
	__u32 bit;

	if (!sctp_chunk(w, chunk))
		return 1;
	bit = chunk[0] < 32 ? 1u << chunk[0] : 0;
	if (w->count && (bit & (HAS(CHUNK_COOKIE_ACK) | HAS(CHUNK_COOKIE_ECHO)) || (bit | w->seen) & SCTP_ALONE))
		w->bad = 1;
	if (!(chunk[2] | chunk[3]))
		w->bad = 1;
	if (w->bad)
		return 1;
	if (!(bit & SCTP_STATES))
		w->strange = 1;
	w->seen |= bit;
	w->count++;
	w->at += sctp_chunk_bytes(chunk);
	return 0;
}

/* The tag that packets of a direction bear. */
static __always_inline __u32 *sctp_tag(struct bt_conn *c, __u32 dir)
{
	return dir == DIR_ORIG ? &c->side[0].end : &c->side[1].end;
}

/* Whether a packet's tag is that of its direction, or, with the chunk's T flag, of the other. */
static __always_inline bool sctp_tag_of(struct bt_conn *c, const struct bt_ctx *x, __u32 dir, __u32 reflected)
{
	return x->seq == *sctp_tag(c, reflected ? !dir : dir);
}

/* HEARTBEAT and HEARTBEAT-ACK: paths besides the first have tags that no INIT told. 0: go on, 1: the packet is INVALID, 2: it is let pass. */
static __always_inline int sctp_heartbeat(struct bt_conn *c, const struct bt_ctx *x, const struct sctp_walk *w, __u32 dir, bool answer)
{
	__u32 *mine = sctp_tag(c, dir);

	if (!*mine) {
		*mine = x->seq;
	} else if (x->seq != *mine) {
		if (w->seen & HAS(CHUNK_DATA) || w->ignore)
			return 1;
		if (!answer) {
			c->last_flags |= SCTPF_HEARTBEAT_FAILED;
			c->last_dir = dir;
			return 2;
		}
		if (!(c->last_flags & SCTPF_HEARTBEAT_FAILED) || c->last_dir == dir)
			return 1;
		c->last_flags &= ~SCTPF_HEARTBEAT_FAILED;
		*mine = x->seq;
		*sctp_tag(c, !dir) = 0;
	} else {
		c->last_flags &= ~SCTPF_HEARTBEAT_FAILED;
	}
	return 0;
}

/* INIT and INIT-ACK tell the tag that the other direction's packets will bear. Whether the chunk is right. */
static __always_inline bool sctp_tag_told(struct bt_conn *c, const struct sctp_walk *w, __u32 dir, bool answer)
{
	__u32 *other = sctp_tag(c, !dir), mine = SCTPF_INIT(dir), theirs = SCTPF_INIT(!dir), tag;
	__u8 init[16];

	if (w->at + 4 + sizeof(init) > w->end || bpf_skb_load_bytes(w->skb, w->at + 4, init, sizeof(init)))
		return false;
	__builtin_memcpy(&tag, init, sizeof(tag));
	if (answer) {
		if (!(c->last_flags & theirs) && *other && *other != tag)
			return false;
		/* Both began at once. */
		if (c->last_flags & mine && c->last_flags & theirs && *other != tag)
			return false;
	} else {
		if (c->last_flags & mine && c->last_flags & theirs)
			c->last_flags &= ~theirs;
		c->last_flags |= mine;
	}
	*other = tag;
	return true;
}

/* Takes the connection a chunk further. The caller holds its lock. */
static long sctp_chunk_cb(__u32 n, struct sctp_walk *w)
{
	struct bt_conn *c = bt_conn_at(w->conn);
	struct bt_ctx *x = ctx_();
	__u32 dir = w->dir & 1, old, type;
	__u8 chunk[4];
	int beat;

	if (!c || !x || !sctp_chunk(w, chunk))
		return 1;
	type = chunk[0];
	w->bad = 1;
	switch (type) {
	case CHUNK_INIT:
		if (x->seq)
			return 1;
		break;
	case CHUNK_ABORT:
	case CHUNK_SHUTDOWN_COMPLETE:
		if (!sctp_tag_of(c, x, dir, chunk[1] & 1))
			return 1;
		break;
	case CHUNK_COOKIE_ECHO:
		if (!sctp_tag_of(c, x, dir, 0))
			return 1;
		break;
	case CHUNK_COOKIE_ACK:
		c->last_flags &= ~(SCTPF_INIT(0) | SCTPF_INIT(1));
		break;
	case CHUNK_HEARTBEAT:
	case CHUNK_HEARTBEAT_ACK:
		beat = sctp_heartbeat(c, x, w, dir, type == CHUNK_HEARTBEAT_ACK);
		if (beat == 1)
			return 1;
		if (beat == 2) {
			w->ignore = 1;
			goto on;
		}
		break;
	default:
		break;
	}
	old = c->tcp_state;
	w->next = sctp_next(dir, type, old);
	if (w->next == sIV)
		return 1;
	if (type == CHUNK_INIT || type == CHUNK_INIT_ACK) {
		if (!sctp_tag_told(c, w, dir, type == CHUNK_INIT_ACK))
			return 1;
		/* An INIT that comes again does not keep alive what nobody answers. */
		if (type == CHUNK_INIT && old == sCL && w->next == sCL && c->status & ST_CONFIRMED)
			w->ignore = 1;
	}
	c->tcp_state = w->next;
	if (old != w->next && w->next == sES && !(c->status & ST_ASSURED))
		__sync_fetch_and_or(&c->status, ST_ASSURED);
on:
	w->bad = 0;
	w->at += sctp_chunk_bytes(chunk);
	return 0;
}

/* Notes what the packet's chunks are: in x->ack their types, x->win whether all change states. Whether they may stand together. */
__noinline int bt_sctp_look(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();
	struct sctp_walk w = { .skb = skb };

	if (!x)
		return 0;
	w.at = x->l4off + 12;
	w.end = x->l4off + x->l4len;
	bpf_loop(SCTP_CHUNKS, sctp_look_cb, &w, 0);
	x->ack = w.seen;
	x->win = !w.strange;
	return !w.bad && w.count;
}

/* The tags of a connection that the packet begins, as it would have to be for netfilter. The state comes with its chunks. */
static __always_inline bool sctp_begins(const struct bt_ctx *x)
{
	return x->win && !(x->ack & SCTP_NEVER_FIRST) && !(x->ack & HAS(CHUNK_INIT) && x->seq);
}

static __always_inline void sctp_begin(struct bt_conn *c, const struct bt_ctx *x)
{
	/* INIT's own tag is told by the chunk. */
	if (x->ack & HAS(CHUNK_HEARTBEAT))
		c->side[0].end = x->seq;
	if (x->ack & ~(HAS(CHUNK_INIT) | HAS(CHUNK_HEARTBEAT) | HAS(CHUNK_HEARTBEAT_ACK)))
		c->side[1].end = x->seq;
}

/* An SCTP packet of connection `i`. Whether it is valid. */
__noinline int bt_sctp_packet(struct __sk_buff *skb, __u32 i, __u32 dir)
{
	struct bt_control *ctl = control();
	struct bt_conn *c = bt_conn_at(i);
	struct bt_ctx *x = ctx_();
	struct sctp_walk w = { .skb = skb, .conn = i, .dir = dir & 1 };

	if (!ctl || !c || !x)
		return 0;
	if (!(x->ack & SCTP_OWN_TAG) && x->seq != *sctp_tag(c, dir))
		return 0;
	w.seen = x->ack;
	w.at = x->l4off + 12;
	w.end = x->l4off + x->l4len;
	if (!ct_lock(c, i))
		return 1;
	bpf_loop(SCTP_CHUNKS, sctp_chunk_cb, &w, 0);
	ct_unlock(c);
	if (w.bad)
		return 0;
	x->refreshed = !w.ignore;
	if (!w.ignore)
		ct_refresh(c, x->now, ctl->timeouts[(TO_SCTP + w.next) & 31]);
	return 1;
}
