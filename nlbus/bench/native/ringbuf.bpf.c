// SPDX-License-Identifier: GPL-2.0
/* Publishes records of 64 bytes into a BPF ring buffer, flat out, as nlbus_gen.ko does with nlbus_publish(). */
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "ringbuf.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RING_BYTES);
} ring SEC(".maps");

struct state {
	struct record record;
	__u32 taken;
	__u32 full;
};

static long publish(__u32 i, void *context)
{
	struct state *state = context;
	struct record *room = bpf_ringbuf_reserve(&ring, sizeof(*room), 0);

	if (!room) {
		state->full++;
		return 0;
	}
	state->record.number = i;
	*room = state->record;
	bpf_ringbuf_submit(room, 0);
	state->taken++;
	return 0;
}

SEC("syscall")
int run(struct order *order)
{
	struct state state = {};

	bpf_loop(order->count, publish, &state, 0);
	order->taken = state.taken;
	order->full = state.full;
	return 0;
}

char _license[] SEC("license") = "GPL";
