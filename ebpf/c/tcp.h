/* SPDX-License-Identifier: GPL-2.0-only */
/* TCP as netfilter tracks it: the state table, windows, and what it does about resets, reopened connections and lost sync.
 * States are numbered as the kernel's `enum tcp_conntrack`. */
#pragma once

#include "ct_table.h"

enum { tNO, tSS, tSR, tES, tFW, tCW, tLA, tTW, tCL, tS2, tIV, tIG };
enum { TCPI_SYN, TCPI_SYNACK, TCPI_FIN, TCPI_ACK, TCPI_RST, TCPI_NONE };

#define TF_FIN 1
#define TF_SYN 2
#define TF_RST 4
#define TF_ACK 16
#define TF_URG 32

/* bt_tcp_side.flags and bt_conn.last_flags */
#define TSF_WSCALE 1
#define TSF_SACK_PERM 2
#define TSF_CLOSE_INIT 4
#define TSF_LIBERAL 8
#define TSF_UNACKED 16
#define TSF_MAXACK_SET 32
#define TSF_CHALLENGE 64
#define TSF_SIMULTANEOUS 128

#define TCP_ACCEPT 1
#define TCP_INVALID (-1)
#define TCP_REPEAT (-2)

#define ROW(a, b, c, d, e, f, g, h, i, j) \
	((__u64)(a) | (__u64)(b) << 4 | (__u64)(c) << 8 | (__u64)(d) << 12 | (__u64)(e) << 16 | (__u64)(f) << 20 | \
	 (__u64)(g) << 24 | (__u64)(h) << 28 | (__u64)(i) << 32 | (__u64)(j) << 36)

static __always_inline __u32 tcp_kind(__u32 flags)
{
	if (flags & TF_RST)
		return TCPI_RST;
	if (flags & TF_SYN)
		return flags & TF_ACK ? TCPI_SYNACK : TCPI_SYN;
	if (flags & TF_FIN)
		return TCPI_FIN;
	return flags & TF_ACK ? TCPI_ACK : TCPI_NONE;
}

/* Flags that may come together; PSH, ECE and CWR always may. */
static __always_inline bool tcp_flags_valid(__u32 flags)
{
	const __u64 ok = 1ULL << TF_SYN | 1ULL << (TF_SYN | TF_URG) | 1ULL << (TF_SYN | TF_ACK) | 1ULL << TF_RST |
			 1ULL << (TF_RST | TF_ACK) | 1ULL << (TF_FIN | TF_ACK) | 1ULL << (TF_FIN | TF_ACK | TF_URG) |
			 1ULL << TF_ACK | 1ULL << (TF_ACK | TF_URG);
	return ok >> (flags & (TF_FIN | TF_SYN | TF_RST | TF_ACK | TF_URG)) & 1;
}

/* The state after a packet of this kind, by column: NO SS SR ES FW CW LA TW CL S2. */
static __always_inline __u32 tcp_next(__u32 dir, __u32 kind, __u32 state)
{
	__u64 row;

	switch (kind) {
	case TCPI_SYN:
		row = dir == DIR_ORIG ? ROW(tSS, tSS, tIG, tIG, tIG, tIG, tIG, tSS, tSS, tS2)
				      : ROW(tIV, tS2, tIV, tIV, tIV, tIV, tIV, tSS, tIV, tS2);
		break;
	case TCPI_SYNACK:
		row = dir == DIR_ORIG ? ROW(tIV, tIV, tSR, tIV, tIV, tIV, tIV, tIV, tIV, tSR)
				      : ROW(tIV, tSR, tIG, tIG, tIG, tIG, tIG, tIG, tIG, tSR);
		break;
	case TCPI_FIN:
		row = ROW(tIV, tIV, tFW, tFW, tLA, tLA, tLA, tTW, tCL, tIV);
		break;
	case TCPI_ACK:
		row = dir == DIR_ORIG ? ROW(tES, tIV, tES, tES, tCW, tCW, tTW, tTW, tCL, tIV)
				      : ROW(tIV, tIG, tSR, tES, tCW, tCW, tTW, tTW, tCL, tIG);
		break;
	case TCPI_RST:
		row = ROW(tIV, tCL, tCL, tCL, tCL, tCL, tCL, tCL, tCL, tCL);
		break;
	default:
		return tIV;
	}
	return row >> ((state & 15) * 4) & 15;
}

static __always_inline bool seq_before(__u32 a, __u32 b)
{
	return (__s32)(a - b) < 0;
}
#define seq_after(a, b) seq_before(b, a)

static __always_inline __u32 opt_be32(const struct bt_ctx *x, __u32 at)
{
	return (__u32)x->opt[at & 63] << 24 | (__u32)x->opt[(at + 1) & 63] << 16 | (__u32)x->opt[(at + 2) & 63] << 8 |
	       x->opt[(at + 3) & 63];
}

/* One option a turn. */
static long opt_cb(__u32 n, void *data)
{
	struct bt_ctx *x = ctx_();
	__u32 at, left, kind, size, b, edge;

	if (!x)
		return 1;
	at = x->o_at;
	left = x->o_len;
	if (!left || left > 40)
		return 1;
	kind = x->opt[at & 63];
	if (kind == 0)
		return 1;
	if (kind == 1) {
		x->o_at = at + 1;
		x->o_len = left - 1;
		return 0;
	}
	if (left < 2)
		return 1;
	size = x->opt[(at + 1) & 63];
	if (size < 2 || size > left)
		return 1;
	if (kind == 4 && size == 2) {
		x->o_flags |= TSF_SACK_PERM;
	} else if (kind == 3 && size == 3) {
		__u8 s = x->opt[(at + 2) & 63];
		x->o_scale = s > 14 ? 14 : s;
		x->o_flags |= TSF_WSCALE;
	} else if (kind == 5 && !x->o_done && size >= 10 && (size - 2) % 8 == 0) {
		for (b = 0; b < 4; b++) {
			if (2 + b * 8 + 8 > size)
				break;
			edge = opt_be32(x, at + 2 + b * 8 + 4);
			if (seq_after(edge, x->o_sack))
				x->o_sack = edge;
		}
		x->o_done = 1;
	}
	x->o_at = at + size;
	x->o_len = left - size;
	return 0;
}

/* Reads the TCP options: o_any, o_flags, o_scale, and o_sack (highest right edge above the acknowledgement). */
__noinline int bt_tcp_options(struct __sk_buff *skb)
{
	struct bt_ctx *x = ctx_();
	__u32 len;

	if (!x)
		return 0;
	x->o_flags = x->o_scale = x->o_done = x->o_any = 0;
	x->o_sack = x->ack;
	len = x->doff;
	if (len <= 20 || len > 60)
		return 0;
	len -= 20;
	if (bpf_skb_load_bytes(skb, x->l4off + 20, x->opt, length(len, sizeof(x->opt) - 1)))
		return 0;
	x->o_any = 1;
	if (len == 12 && opt_be32(x, 0) == 0x0101080a)
		return 0;
	x->o_at = 0;
	x->o_len = len;
	bpf_loop(40, opt_cb, NULL, 0);
	return 0;
}

/* Takes scale and flags from the options just read, keeping only liberality of old. */
static __always_inline void side_options(struct bt_tcp_side *s, const struct bt_ctx *x)
{
	if (!x->o_any)
		return;
	s->scale = x->o_scale;
	s->flags = (s->flags & TSF_LIBERAL) | x->o_flags;
}

static __always_inline void side_init(struct bt_tcp_side *snd, struct bt_tcp_side *rcv, const struct bt_ctx *x, __u32 dir)
{
	snd->end = snd->maxend = x->end;
	snd->maxwin = x->win ? x->win : 1;
	side_options(snd, x);
	/* Both must offer window scaling, or neither scales. */
	if (dir == DIR_REPLY && !(snd->flags & rcv->flags & TSF_WSCALE))
		snd->scale = rcv->scale = 0;
}

/* The first packet of a connection; the caller has checked that it may begin one. */
static __always_inline void tcp_begin(struct bt_conn *c, const struct bt_ctx *x)
{
	struct bt_tcp_side *s = &c->side[0];

	s->end = x->end;
	s->maxwin = x->win ? x->win : 1;
	if (x->tflags & TF_SYN) {
		s->maxend = x->end;
		side_options(s, x);
	} else {
		s->maxend = x->end + s->maxwin;
		c->side[0].flags = c->side[1].flags = TSF_SACK_PERM | TSF_LIBERAL;
	}
	c->last_index = TCPI_NONE;
}

#define WIN_ACCEPT 0
#define WIN_IGNORE 1
#define WIN_INVALID 2

static __always_inline int tcp_window(struct bt_conn *c, const struct bt_ctx *x, const struct bt_control *ctl,
				      struct bt_tcp_side *snd, struct bt_tcp_side *rcv, __u32 dir, __u32 kind)
{
	__u32 seq = x->seq, ack = x->ack, sack = x->ack, end = x->end, win = x->win, swin, ackwin, over;
	bool liberal, inwin;

	if (rcv->flags & TSF_SACK_PERM)
		sack = x->o_sack;
	if (!snd->maxwin) {
		if (x->tflags & TF_SYN) {
			side_init(snd, rcv, x, dir);
			if (!(x->tflags & TF_ACK))
				return WIN_ACCEPT;
		} else {
			/* Amid a connection whose history we lack. */
			snd->end = end;
			swin = win << (snd->scale & 15);
			snd->maxwin = swin ? swin : 1;
			snd->maxend = end + snd->maxwin;
			if (!rcv->maxwin)
				rcv->end = rcv->maxend = sack;
			else if (sack == rcv->end + 1)
				rcv->end++; /* answers a keep-alive */
		}
	} else if ((x->tflags & TF_SYN) && seq_after(end, snd->end) && (c->tcp_state == tSS || c->tcp_state == tSR)) {
		/* Opened anew with a higher sequence number. */
		side_init(snd, rcv, x, dir);
		if (dir == DIR_REPLY && !(x->tflags & TF_ACK))
			return WIN_ACCEPT;
	}
	if (!(x->tflags & TF_ACK) || ((x->tflags & TF_RST) && ack == 0))
		ack = sack = rcv->end;
	if ((x->tflags & TF_RST) && seq == 0 && c->tcp_state == tSS)
		seq = end = snd->end; /* a reset that answers a SYN */

	liberal = (snd->flags & TSF_LIBERAL) || ctl->tcp_be_liberal;
	ackwin = snd->maxwin > 66000 ? snd->maxwin : 66000;
	if (!seq_before(seq, snd->maxend + 1)) {
		over = end - snd->maxend + 1;
		inwin = rcv->maxwin && seq_after(end, snd->end - rcv->maxwin - 1);
		if (inwin && seq_after(sack, rcv->end - ackwin - 1) && over <= rcv->maxwin && seq_before(sack, rcv->end + 1)) {
			/* More than the window allows, else fine: its acknowledgement must not look too high later. */
			snd->end = end;
			snd->flags |= TSF_UNACKED;
			return liberal ? WIN_ACCEPT : WIN_IGNORE;
		}
		return liberal ? WIN_ACCEPT : WIN_INVALID;
	}
	if (!seq_before(sack, rcv->end + 1))
		return liberal ? WIN_ACCEPT : WIN_INVALID;
	inwin = !rcv->maxwin || seq_after(end, snd->end - rcv->maxwin - 1);
	if (!inwin || !seq_after(sack, rcv->end - ackwin - 1))
		return liberal ? WIN_ACCEPT : WIN_IGNORE;

	if (!(x->tflags & TF_SYN))
		win <<= snd->scale & 15;
	swin = win + (sack - ack);
	if (snd->maxwin < swin)
		snd->maxwin = swin;
	if (seq_after(end, snd->end)) {
		snd->end = end;
		snd->flags |= TSF_UNACKED;
	}
	if (x->tflags & TF_ACK) {
		if (!(snd->flags & TSF_MAXACK_SET)) {
			snd->maxack = ack;
			snd->flags |= TSF_MAXACK_SET;
		} else if (seq_after(ack, snd->maxack)) {
			snd->maxack = ack;
		}
	}
	if (rcv->maxwin && seq_after(end, snd->maxend))
		rcv->maxwin += end - snd->maxend;
	if (seq_after(sack + win, rcv->maxend - 1)) {
		rcv->maxend = sack + win;
		if (!win)
			rcv->maxend++;
	}
	if (ack == rcv->end)
		rcv->flags &= ~TSF_UNACKED;
	if (kind == TCPI_ACK) {
		if (c->last_dir == dir && c->last_seq == seq && c->last_ack == ack && c->last_end == end && c->last_win == x->win) {
			c->retrans++;
		} else {
			c->last_dir = dir;
			c->last_seq = seq;
			c->last_ack = ack;
			c->last_end = end;
			c->last_win = x->win;
			c->retrans = 0;
		}
	}
	return WIN_ACCEPT;
}

static __always_inline bool tcp_established(const struct bt_conn *c)
{
	return c->tcp_state == tES && (c->status & ST_ASSURED);
}

/* Notes what an ignored packet said, to get in sync if the other side confirms it. */
static __always_inline void tcp_annotate(struct bt_conn *c, const struct bt_ctx *x, __u32 dir, __u32 kind)
{
	c->last_index = kind;
	c->last_dir = dir;
	c->last_seq = x->seq;
	c->last_end = x->end;
	c->last_win = x->win;
	if (kind == TCPI_SYN && dir == DIR_ORIG) {
		c->last_flags = x->o_flags & (TSF_WSCALE | TSF_SACK_PERM);
		c->last_wscale = x->o_flags & TSF_WSCALE ? x->o_scale : 0;
		if (c->tcp_state == tLA)
			c->last_flags |= TSF_CHALLENGE;
	}
	if (c->tcp_state == tSS && kind == TCPI_ACK && dir == DIR_REPLY)
		c->last_ack = x->ack;
}

/* `v`, of which the verifier forgets what it knows on this way, so that it follows all ways that meet here as one. */
static __always_inline __u32 forgotten(__u32 *place, __u32 v)
{
	*(volatile __u32 *)place = v;
	return *(volatile __u32 *)place;
}

static __always_inline __u32 tcp_time(const struct bt_control *ctl, __u32 which)
{
	return ctl->timeouts[which & 31];
}

/* Under the connection's lock. */
static __always_inline int tcp_locked(struct bt_conn *c, struct bt_ctx *x, const struct bt_control *ctl, __u32 dir,
				      __u32 *kill)
{
	struct bt_tcp_side *snd = &c->side[masked(dir, 1)], *rcv = &c->side[masked(dir ^ 1, 1)];
	__u32 kind = forgotten(&x->tcp[0], tcp_kind(x->tflags)), old = c->tcp_state, secs;
	__u32 next = forgotten(&x->tcp[1], tcp_next(dir, kind, old));
	bool sure = false;
	int res;

	switch (next) {
	case tSS:
		if (old < tTW)
			break;
		if (((snd->flags | rcv->flags) & TSF_CLOSE_INIT) || (c->last_dir == dir && c->last_index == TCPI_RST)) {
			*kill = 1;
			return TCP_REPEAT;
		}
		/* fall through */
	case tIG:
		if (kind == TCPI_SYNACK && c->last_index == TCPI_SYN && c->last_dir != dir && x->ack == c->last_end) {
			/* The SYN that we ignored was good: both ends are in sync, we were not. */
			old = tSS;
			next = tSR;
			rcv->end = rcv->maxend = c->last_end;
			rcv->maxwin = c->last_win ? c->last_win : 1;
			rcv->scale = c->last_wscale;
			c->last_flags &= ~TSF_CHALLENGE;
			rcv->flags = c->last_flags;
			snd->end = snd->maxend = snd->maxwin = snd->maxack = 0;
			snd->scale = 0;
			snd->flags &= TSF_LIBERAL;
			break;
		}
		tcp_annotate(c, x, dir, kind);
		return TCP_ACCEPT;
	case tIV:
		return TCP_INVALID;
	case tTW:
		/* A challenge ACK to a SYN is not the last ACK. */
		if (old == tLA && kind == TCPI_ACK && c->last_dir != dir && c->last_index == TCPI_SYN &&
		    (c->last_flags & TSF_CHALLENGE)) {
			c->last_flags &= ~TSF_CHALLENGE;
			return TCP_ACCEPT;
		}
		break;
	case tS2:
		c->last_flags |= TSF_SIMULTANEOUS;
		break;
	case tSR:
		if (dir == DIR_REPLY && kind == TCPI_ACK && (c->last_flags & TSF_SIMULTANEOUS))
			next = tES;
		break;
	case tCL:
		if (kind != TCPI_RST)
			break;
		if (old >= tFW && old <= tCL) {
			sure = true;
			break;
		}
		if ((rcv->flags & TSF_MAXACK_SET) && c->last_index != TCPI_SYN) {
			if (x->seq == 0 && !tcp_established(c))
				break;
			if (seq_before(x->seq, rcv->maxack) && !ctl->tcp_ignore_invalid_rst)
				return TCP_INVALID;
			if (!tcp_established(c) || x->seq == rcv->maxack)
				break;
			if (c->last_index == TCPI_ACK && c->last_dir == dir && x->seq == c->last_end)
				break;
			/* Not the exact number: leave room for a challenge ACK. */
			next = old;
		}
		if ((((c->status & ST_SEEN_REPLY) && c->last_index == TCPI_SYN) ||
		     (!(c->status & ST_ASSURED) && c->last_index == TCPI_ACK)) &&
		    x->ack == c->last_end) {
			sure = true;
			break;
		}
		if (old == tSS && c->last_index == TCPI_ACK && c->last_dir == DIR_REPLY && x->seq == c->last_ack)
			sure = true;
		break;
	default:
		break;
	}

	old = forgotten(&x->tcp[0], old);
	next = forgotten(&x->tcp[1], next);
	kind = forgotten(&x->tcp[2], kind);
	if (!forgotten(&x->tcp[3], sure)) {
		res = forgotten(&x->tcp[3], tcp_window(c, x, ctl, snd, rcv, dir, kind));
		if (res == WIN_IGNORE)
			return TCP_ACCEPT;
		if (res == WIN_INVALID) {
			/* A FIN or RST that does not fit, and then one from the other side: don't linger. */
			if ((c->status & ST_ASSURED) && (kind == TCPI_RST || kind == TCPI_FIN)) {
				if (c->last_dir != dir && (c->last_index == TCPI_FIN || c->last_index == TCPI_RST)) {
					__u64 left = c->expires - x->now, lower = tcp_time(ctl, TO_TCP_UNACK) * SEC_NS;
					if ((__s64)left >= (__s64)(120 * SEC_NS) && (__s64)left > (__s64)lower)
						c->expires = x->now + lower;
				} else {
					c->last_index = kind;
					c->last_dir = dir;
				}
			}
			return TCP_INVALID;
		}
	}
	c->last_index = kind;
	c->last_dir = dir;
	c->tcp_state = next;
	if (old != next && next == tFW)
		snd->flags |= TSF_CLOSE_INIT;

	secs = tcp_time(ctl, next);
	if (c->retrans >= ctl->tcp_max_retrans && secs > tcp_time(ctl, TO_TCP_RETRANS))
		secs = tcp_time(ctl, TO_TCP_RETRANS);
	else if (kind == TCPI_RST)
		secs = tcp_time(ctl, tCL);
	else if (((snd->flags | rcv->flags) & TSF_UNACKED) && secs > tcp_time(ctl, TO_TCP_UNACK))
		secs = tcp_time(ctl, TO_TCP_UNACK);
	else if (c->last_win == 0 && secs > tcp_time(ctl, TO_TCP_RETRANS))
		secs = tcp_time(ctl, TO_TCP_RETRANS);

	if (!(c->status & ST_SEEN_REPLY)) {
		/* A SYN that comes again does not keep alive what nobody answers. */
		if (kind == TCPI_SYN && old == tSS)
			return TCP_ACCEPT;
		if (x->tflags & TF_RST) {
			x->refreshed = 1;
			*kill = 1;
			return TCP_ACCEPT;
		}
		if (next == tES && secs > tcp_time(ctl, TO_TCP_UNACK))
			secs = tcp_time(ctl, TO_TCP_UNACK);
	} else if (!(c->status & ST_ASSURED) && (old == tSR || old == tES) && next == tES) {
		__sync_fetch_and_or(&c->status, ST_ASSURED);
	}
	x->refreshed = 1;
	ct_refresh(c, x->now, secs);
	return TCP_ACCEPT;
}

/* A TCP packet of connection `i`. TCP_ACCEPT, TCP_INVALID, or TCP_REPEAT: the connection ended, this packet begins another. */
__noinline int bt_tcp_packet(struct __sk_buff *skb, __u32 i, __u32 dir)
{
	struct bt_control *ctl = control();
	struct bt_conn *c = bt_conn_at(i);
	struct bt_pkt *p = pkt();
	struct bt_ctx *x = ctx_();
	__u32 kill = 0;
	int res;

	ARG_USED(skb);
	if (!ctl || !c || !x || !p)
		return TCP_INVALID;
	if (!ct_lock(c, i))
		return TCP_ACCEPT;
	/* Of a fragmented segment only the first part is seen: how far it reaches is not known. */
	if (p->flags & P_MORE) {
		c->side[0].flags |= TSF_LIBERAL;
		c->side[1].flags |= TSF_LIBERAL;
	}
	res = tcp_locked(c, x, ctl, dir, &kill);
	ct_unlock(c);
	if (kill)
		bt_ct_reap(i);
	return res;
}

/* REJECT answers a packet of connection `number` - 1 with a RST, which nothing tracks: a confirmed TCP connection is closed by it. */
__noinline int bt_tcp_close(__u32 number)
{
	struct bt_control *ctl = control();
	struct bt_conn *c = bt_conn_at(number - 1);
	__u32 old;

	if (!number || !c || !ctl || c->orig.proto != IPPROTO_TCP || !(c->status & ST_CONFIRMED) || !ct_lock(c, number - 1))
		return 0;
	old = c->tcp_state;
	c->tcp_state = tCL;
	if (old != tCL)
		c->expires = ct_now() + tcp_time(ctl, tCL) * SEC_NS;
	ct_unlock(c);
	return 0;
}
