// SPDX-License-Identifier: MIT
/*
 * A BPF ring buffer's producer and consumer: `ringbuf OBJECT`, then a number of records a line on stdin.
 * Answers "taken full received nanoseconds", the last from before the first was made until all were seen.
 */
#define _GNU_SOURCE
#include <linux/types.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "ringbuf.h"

static struct order order;
static uint64_t start, received, last, sum;
static int program, error;
static atomic_bool through;

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

static int see(void *context, void *data, size_t size)
{
	(void)context;
	(void)size;
	received++;
	sum += ((struct record *)data)->number;
	return 0;
}

/* On the first processor, as nlbus_gen.ko's thread. */
static void *produce(void *unused)
{
	LIBBPF_OPTS(bpf_test_run_opts, options, .ctx_in = &order, .ctx_size_in = sizeof(order));
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	pthread_setaffinity_np(pthread_self(), sizeof(first), &first);
	start = now();
	error = bpf_prog_test_run_opts(program, &options);
	atomic_store(&through, true);
	return unused;
}

int main(int argc, char **argv)
{
	struct bpf_object *object = argc == 2 ? bpf_object__open_file(argv[1], NULL) : NULL;
	struct ring_buffer *ring = NULL;
	pthread_t producer;

	if (!object || bpf_object__load(object))
		return 1;
	program = bpf_program__fd(bpf_object__find_program_by_name(object, "run"));
	ring = ring_buffer__new(bpf_object__find_map_fd_by_name(object, "ring"), see, NULL, NULL);
	if (!ring)
		return 1;
	while (scanf("%u", &order.count) == 1) {
		received = 0;
		atomic_store(&through, false);
		if (pthread_create(&producer, NULL, produce, NULL))
			return 1;
		while (!atomic_load(&through) || received < order.taken)
			if (ring_buffer__poll(ring, 1) > 0)
				last = now();
		pthread_join(producer, NULL);
		if (error) {
			fprintf(stderr, "running it: error %d\n", -error);
			return 1;
		}
		printf("%u %u %llu %llu\n", order.taken, order.full, (unsigned long long)received,
		       (unsigned long long)(last - start));
		fflush(stdout);
	}
	return 0;
}
