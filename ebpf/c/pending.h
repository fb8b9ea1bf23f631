/* SPDX-License-Identifier: GPL-2.0-only */
/* Until ct.h and nat.h have landed: nothing is tracked. */
#pragma once
#include "bt.h"
#define PENDING(name) __noinline int name(struct __sk_buff *skb) { return skb->len ? 0 : -1; }
PENDING(bt_ct_in)
PENDING(bt_ct_resume)
PENDING(bt_ct_confirm)
PENDING(bt_ct_abandon)
PENDING(bt_ct_hint)
PENDING(bt_frag)
__noinline int bt_nat_decide(struct __sk_buff *skb, __u32 m) { return skb->len + m ? 0 : -1; }
__noinline int bt_nat_apply(struct __sk_buff *skb, __u32 m) { return skb->len + m ? 0 : -1; }
