/* SPDX-License-Identifier: GPL-2.0-only */
/* The traversal of chains: one step machine under bpf_loop. The image's tables only name candidates; each candidate's record is
 * checked in full, so a table may name too many rules but never misses one. */
#pragma once
#include "bt.h"
#include "candidates.h"
#include "ct.h"
#include "header_targets.h"
#include "nflog.h"
#include "ops.h"
#include "hmark.h"
#include "tee.h"
#include "trace.h"

struct bt_step {
	struct __sk_buff *skb;
	struct bt_pkt *p;
	void *img;
};

static __always_inline void count(struct bt_pkt *p, __u32 slot)
{
	__u32 chunk = slot / BT_COUNTER_CHUNK;
	void *counters = bpf_map_lookup_elem(&bt_counters, &chunk);
	if (!counters)
		return;
	__u32 at = p->cpu_base + slot % BT_COUNTER_CHUNK;
	struct bt_counter *c = bpf_map_lookup_elem(counters, &at);
	if (c) {
		c->packets += p->npkts;
		c->bytes += p->nbytes;
	}
}

static __always_inline bool between(__u32 v, __u32 lo, __u32 hi)
{
	return v - lo <= hi - lo;
}

#if BT_FAMILY == 4
/* Whether the record's addresses hold. */
static __always_inline bool addrs_match(struct bt_pkt *p, void *img, struct bt_rule *r)
{
	__u32 f = r->flags;

	if (f & RF_SADDR && ((p->saddr & r->smask) != r->saddr) != !!(f & RF_INV_SADDR))
		return false;
	return !(f & RF_DADDR && ((p->daddr & r->dmask) != r->daddr) != !!(f & RF_INV_DADDR));
}
#endif

/* 1: the record's own checks hold; 0: not; -1: hotdrop. */
static __always_inline int rule_match(struct bt_pkt *p, void *img, struct bt_rule *r)
{
	__u32 f = r->flags;

	if (f & RF_NEVER || !addrs_match(p, img, r))
		return 0;
	if (f & RF_IIF && !between(p->class_in, r->iif_lo, r->iif_hi) != !!(f & RF_INV_IIF))
		return 0;
	if (f & RF_OIF && !between(p->class_out, r->oif_lo, r->oif_hi) != !!(f & RF_INV_OIF))
		return 0;
	if (BT_FAMILY == 6 && f & RF_WALK && p->flags & P_BAD_EXT)
		return -1;
	if (f & RF_PROTO && (p->proto != r->proto) != !!(f & RF_INV_PROTO))
		return 0;
	if (unlikely(f & (RF_FRAG | RF_NOT_FRAG))) {
		if ((f & RF_FRAG && !p->frag_off) || (f & RF_NOT_FRAG && p->frag_off))
			return 0;
	}
	if (!r->l4)
		return 1;
	if (unlikely(p->frag_off)) {
		/* A fragment that would overwrite the flags of a TCP header is no accident (RFC 1858). */
		return BT_FAMILY == 4 && r->l4 == L4_TCP && p->frag_off == 1 ? -1 : 0;
	}
	if (unlikely(p->flags & P_TRUNC))
		return -1;
	if (r->l4 == L4_ICMP) {
		bool hit = (BT_FAMILY == 4 && r->l4_a == 255) || (p->icmp_type == r->l4_a && between(p->icmp_code, r->dport_lo, r->dport_hi));
		return hit != !!(f & RF_INV_ICMP);
	}
	if (between(p->sport, r->sport_lo, r->sport_hi) == !!(f & RF_INV_SPORT))
		return 0;
	if (between(p->dport, r->dport_lo, r->dport_hi) == !!(f & RF_INV_DPORT))
		return 0;
	if (r->l4 == L4_TCP && ((p->tcp_flags & r->l4_a) == r->l4_b) == !!(f & RF_INV_TCP_FLAGS))
		return 0;
	return 1;
}

/* how: bits, and 1 << 8 to the right. */
static __always_inline __u32 shifted(__u32 mark, __u32 how)
{
	return how & 1 << 8 ? mark >> (how & 31) : mark << (how & 31);
}

static __always_inline void target_connmark(struct bt_pkt *p, void *img, __u32 arg)
{
	struct bt_conn *c = bt_conn_of(p);
	struct bt_line *l = line(img, arg);
	if (!c || !l)
		return;
	__u32 nfmask = l->w[2], ctmask = l->w[3], how = l->w[4];
	switch (l->w[0]) {
	case 0:
		c->mark = shifted((c->mark & ~ctmask) ^ l->w[1], how);
		break;
	case 1:
		c->mark = (c->mark & ~ctmask) ^ shifted(p->mark & nfmask, how);
		break;
	case 2:
		p->mark = (p->mark & ~nfmask) ^ shifted(c->mark & ctmask, how);
		break;
	}
}

/* How the packet is to be tracked: what was said first holds, and nothing changes what was tracked already (as on its way through lo).
 * Until it is tracked, one that waits for it passes as NEW. */
static __always_inline void target_track(struct bt_pkt *p, __u32 arg, __u32 info)
{
	if (p->ctinfo != CI_NONE)
		return;
	p->ctinfo = info;
	p->track = arg >> 16;
	p->zone = arg;
}

static __always_inline int finish(struct bt_pkt *p, __u32 verdict)
{
	p->m_verdict = verdict;
	return 1;
}

/* The end of a base chain. */
static __always_inline int chain_policy(struct bt_pkt *p)
{
	count(p, p->m_policy_slot);
	if (p->m_policy != POLICY_DROP)
		return V_ACCEPT;
	stat_add(STAT_DROP_RULE);
	return V_DROP;
}

/* TRACE of a base chain's policy, wherever gotos led. */
static __noinline void trace_policy(struct bt_step *s, struct bt_pkt *p)
{
	if (p->traced)
		bt_trace(s->skb, word(s->img, BT_BASES_LINE, p->hook * BT_TABLES + p->table), 0, 1);
}

/* The end of a chain, or RETURN: back to the caller, or the policy. */
static __always_inline int chain_return(struct bt_step *s, struct bt_pkt *p, const bool tracing)
{
	if (p->m_depth > 0) {
		struct bt_frame *f = &p->m_stack[masked(p->m_depth - 1, BT_STACK - 1)];
		p->m_depth--;
		if (bt_enter(f->chain, f->pos)) {
			stat_add(STAT_DROP_IMAGE);
			return finish(p, V_DROP);
		}
		return 0;
	}
	if (tracing)
		trace_policy(s, p);
	return finish(p, chain_policy(p));
}

/* One candidate. `tracing`: the image has a rule with TRACE; without one nothing asks for its mark. */
static __always_inline long step(struct bt_step *s, const bool tracing)
{
	struct bt_pkt *p = s->p;
	void *img = s->img;
	__u32 at = next_candidate(img, p);

	if (at == BT_AGAIN)
		return 0;
	if (at == BT_NONE) {
		if (p->m_next)
			return bt_enter(p->m_next, 0) ? finish(p, V_DROP) : 0;
		if (tracing && p->traced) {
			struct bt_chain *c = line(img, p->m_chain);
			/* A base chain's end is its policy. */
			if (c && c->policy == POLICY_RETURN)
				bt_trace(s->skb, p->m_chain, 0, 1);
		}
		return chain_return(s, p, tracing);
	}
	p->m_pos = at + 1;
	struct bt_rule *r = line(img, p->m_rules + at);
	if (unlikely(!r)) {
		stat_add(STAT_DROP_IMAGE);
		return finish(p, V_DROP);
	}
	int hit = rule_match(p, img, r);
	if (hit > 0 && r->nops) {
		p->op_line = r->ops;
		p->op_count = r->nops;
		hit = bt_ops(s->skb);
	}
	if (hit == 0)
		return 0;
	if (unlikely(hit < 0)) {
		stat_add(STAT_DROP_HOTDROP);
		return finish(p, V_DROP);
	}
	count(p, r->slot);
	if (tracing && unlikely(p->traced))
		bt_trace(s->skb, p->m_chain, r->number, r->bare);
	if (unlikely(hit == OP_DOOMED)) {
		/* What its target does to a packet that ends here, nobody sees; but for these. */
		if (r->target == TG_LOG)
			bt_log(s->skb, r->arg);
		if (r->target == TG_NFLOG)
			bt_nflog(s->skb, r->arg);
		if (r->target == TG_CONNMARK)
			target_connmark(p, img, r->arg);
		if (has_part(IMG_SELDOM) && r->target == TG_RATEEST)
			bt_target_rateest(s->skb, r->arg);
		if (has_part(IMG_SELDOM) && r->target == TG_TEE)
			bt_target_tee(s->skb, r->arg);
		if (has_part(IMG_SETS) && r->target == TG_SET)
			bt_target_set(s->skb, r->arg);
		if (r->target == TG_REJECT) {
			p->reject = r->arg;
			return finish(p, V_REJECT);
		}
		stat_add(STAT_DROP_HOTDROP);
		return finish(p, V_DROP);
	}
	switch (r->target) {
	case TG_NONE:
		return 0;
	case TG_ACCEPT:
		return finish(p, V_ACCEPT);
	case TG_DROP:
		stat_add(STAT_DROP_RULE);
		return finish(p, V_DROP);
	case TG_RETURN:
		return chain_return(s, p, tracing);
	case TG_JUMP:
		if (p->m_depth >= BT_STACK) {
			stat_add(STAT_DROP_DEPTH);
			return finish(p, V_DROP);
		}
		p->m_stack[masked(p->m_depth, BT_STACK - 1)].chain = p->m_chain;
		p->m_stack[masked(p->m_depth, BT_STACK - 1)].pos = p->m_pos;
		p->m_depth++;
		/* fallthrough */
	case TG_GOTO:
		if (bt_enter(r->arg, 0)) {
			stat_add(STAT_DROP_IMAGE);
			return finish(p, V_DROP);
		}
		return 0;
	case TG_REJECT:
		p->reject = r->arg;
		return finish(p, V_REJECT);
	case TG_MARK: {
		struct bt_line *l = line(img, r->arg);
		if (l)
			p->mark = (p->mark & ~l->w[1]) ^ l->w[0];
		return 0;
	}
	case TG_CONNMARK:
		target_connmark(p, img, r->arg);
		return 0;
	case TG_NOTRACK:
		target_track(p, TRACK_NOT << 16, CI_UNTRACKED);
		return 0;
	case TG_CT:
		target_track(p, r->arg, CI_NEW);
		return 0;
	case TG_LOG:
		bt_log(s->skb, r->arg);
		return 0;
	case TG_NFLOG:
		bt_nflog(s->skb, r->arg);
		return 0;
	case TG_TRACE:
		p->traced = 1;
		return 0;
	case TG_TPROXY:
		if (has_part(IMG_DEFRAG) && bt_target_tproxy(s->skb, r->arg))
			return finish(p, V_ACCEPT);
		stat_add(STAT_DROP_RULE);
		return finish(p, V_DROP);
	case TG_RATEEST:
		if (has_part(IMG_SELDOM))
			bt_target_rateest(s->skb, r->arg);
		return 0;
	case TG_HMARK:
		if (has_part(IMG_SELDOM))
			bt_target_hmark(s->skb, r->arg);
		return 0;
	case TG_TEE:
		if (has_part(IMG_SELDOM))
			bt_target_tee(s->skb, r->arg);
		return 0;
	case TG_SET:
		if (has_part(IMG_SETS))
			bt_target_set(s->skb, r->arg);
		return 0;
	case TG_TOS ... TG_CLASSIFY:
	case TG_CHECKSUM ... TG_DNPT:
		if (header_target(s->skb, r->target, r->arg)) {
			stat_add(STAT_DROP_HOTDROP);
			return finish(p, V_DROP);
		}
		return 0;
	default: {
		struct bt_nat_params *n = line(img, r->arg);
		if (!n)
			return finish(p, V_DROP);
		p->nat_target = r->target;
		p->nat_slot = r->slot;
		p->nat = *n;
		return finish(p, V_NAT);
	}
	}
}

static long bt_step(__u64 i, struct bt_step *s)
{
	return step(s, false);
}

static long bt_traced_step(__u64 i, struct bt_step *s)
{
	return step(s, true);
}

/* Runs the base chain `hook * BT_TABLES + table` of this packet's image. Returns a bt_verdict. */
__noinline int bt_run(struct __sk_buff *skb, __u32 which)
{
	struct bt_pkt *p = pkt();
	if (!p)
		return V_DROP;
	struct bt_step s = { .skb = skb, .p = p };
	s.img = image(p->slot);
	if (unlikely(!s.img))
		goto bad;
	__u32 at = word(s.img, BT_BASES_LINE, which);
	if (!at)
		return V_ACCEPT;
	struct bt_chain *base = line(s.img, at);
	if (unlikely(!base))
		goto bad;
	/* Wherever gotos lead, the end of the traversal is this chain's policy. */
	p->m_policy = base->policy;
	p->m_policy_slot = base->policy_slot;
	if (!base->nrules) {
		if (unlikely(asks(p, IMG_TRACE)))
			trace_policy(&s, p);
		return chain_policy(p);
	}
	p->m_depth = 0;
	p->m_verdict = V_DROP;
	if (!enter(p, s.img, base, at, 0) && bt_enter(at, 0))
		goto bad;
	/* Two calls, told apart: the verifier puts a loop in the place of one whose callback is known. */
	if (unlikely(asks(p, IMG_TRACE))) {
		bpf_loop(1 << 23, bt_traced_step, &s, 0);
		barrier();
	} else {
		bpf_loop(1 << 23, bt_step, &s, 0);
	}
	return p->m_verdict;
bad:
	stat_add(STAT_DROP_IMAGE);
	return V_DROP;
}
