/* SPDX-License-Identifier: GPL-2.0-only */
/* The kernel's lists of tcx programs, as the programs and the guard read them. */
#pragma once

struct bpf_prog_aux {
	__u32 id;
} __attribute__((preserve_access_index));
struct bpf_prog {
	struct bpf_prog_aux *aux;
} __attribute__((preserve_access_index));
struct bpf_mprog_fp {
	struct bpf_prog *prog;
} __attribute__((preserve_access_index));
struct bpf_mprog_bundle;
struct bpf_mprog_entry {
	struct bpf_mprog_fp fp_items[64];
	struct bpf_mprog_bundle *parent;
} __attribute__((preserve_access_index));
