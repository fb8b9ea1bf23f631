/* SPDX-License-Identifier: GPL-2.0-only */
/* What br_netfilter keeps of a packet that a bridge shows to netfilter's hooks, as the programs and the guard read it. */
#pragma once

/* Extensions of a packet; the kernel numbers those that it was built with. */
enum skb_ext_id { SKB_EXT_BRIDGE_NF, SKB_EXT_SEC_PATH };
struct skb_ext {
	__u8 offset[1]; /* of each extension, in units of 8 bytes */
} __attribute__((preserve_access_index));
struct sk_buff___ext {
	__u8 active_extensions;
	struct skb_ext *extensions;
} __attribute__((preserve_access_index));

#define SKB_DATAREF_MASK 0xffff
struct sk_buff___data {
	unsigned char *head;
	__u32 end; /* offset of skb_shared_info */
} __attribute__((preserve_access_index));
struct skb_shared_info {
	struct {
		int counter;
	} dataref;
} __attribute__((preserve_access_index));

/* As struct nf_bridge_info begins since Linux 6.8 and the stable series of its time. It is the module's own, so there may be no types of it
 * to go by; where it were otherwise the port would be none that is known, and the guard would drop what is bridged. */
struct bt_bridge_info {
	__u8 orig_proto; /* 0: the frame's own; else what VLAN or PPPoE wrap */
	__u8 flags;
	__u16 frag_max_size;
	__u32 physin; /* number of the port that it came in by */
	__u64 physout; /* address of the port that it leaves by; 0 before FORWARD, and where it is not bridged */
};

/* Whether a packet was shown to netfilter by a bridge; `active`: its active_extensions. */
static __always_inline bool has_bridge_info(__u8 active)
{
	return bpf_core_enum_value_exists(enum skb_ext_id, SKB_EXT_BRIDGE_NF) &&
	       active >> bpf_core_enum_value(enum skb_ext_id, SKB_EXT_BRIDGE_NF) & 1;
}

/* Address of extension number `id` of a packet that has it, 0 if it can't be read; `skb` is a kernel address. */
static __always_inline unsigned long extension(void *skb, __u32 id)
{
	unsigned long ext = 0;
	__u8 offset = 0;

	if (bpf_probe_read_kernel(&ext, sizeof(ext), skb + bpf_core_field_offset(struct sk_buff___ext, extensions)))
		return 0;
	if (bpf_probe_read_kernel(&offset, sizeof(offset), (void *)(ext + bpf_core_field_offset(struct skb_ext, offset) + id)))
		return 0;
	return ext + ((__u32)offset << 3);
}

/* What the bridge noted. To be asked where has_bridge_info() holds. */
static __always_inline bool bridge_info(void *skb, struct bt_bridge_info *info)
{
	unsigned long at = extension(skb, bpf_core_enum_value(enum skb_ext_id, SKB_EXT_BRIDGE_NF));

	return at && !bpf_probe_read_kernel(info, sizeof(*info), (void *)at);
}
