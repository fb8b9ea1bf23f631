/* SPDX-License-Identifier: GPL-2.0-only */
/* -j TRACE: each rule that a marked packet matches, and each end of a chain that it comes to, is an event. The mark stays with the packet
 * where it is forwarded (note.h) and on its way through lo. */
#pragma once

#include "bt.h"
#include "log.h"

/* As netfilter's: level warning, and everything but the decoding of link headers. */
#define TRACE_LEVEL 4
#define TRACE_FLAGS 0x0f

/* `number`: of the rule in the chain at line `at`, 0 at its end; `bare`: the rule is an end in effect. */
__noinline int bt_trace(struct __sk_buff *skb, __u32 at, __u32 number, __u32 bare)
{
	struct bt_pkt *p = pkt();
	struct bt_chain_name *name;
	struct bt_chain *c;
	struct bt_event *e;
	void *img;

	if (!p)
		return 0;
	img = image(p->slot);
	if (!img)
		return 0;
	c = line(img, at);
	if (!c)
		return 0;
	name = line(img, c->name);
	if (!name)
		return 0;
	e = event_reserve();
	if (!e)
		return 0;
	e->head.kind = EVENT_TRACE;
	e->params.level = TRACE_LEVEL;
	e->params.flags = TRACE_FLAGS;
	__builtin_memcpy(e->params.prefix, name->name, sizeof(e->params.prefix));
	log_packet(skb, p, e);
	e->number = number ? number : name->rules + 1;
	e->what = number && !bare ? TRACE_RULE : c->policy == POLICY_RETURN ? TRACE_RETURN : TRACE_POLICY;
	bpf_ringbuf_submit(e, 0);
	return 0;
}
