/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What ringbuf.c and ringbuf.bpf.c share. */
#define RING_BYTES (4 << 20)

struct record {
	__u64 number;
	__u64 rest[7];
};

struct order {
	__u32 count;
	__u32 taken;
	__u32 full;
	__u32 reserved;
};
