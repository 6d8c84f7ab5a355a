// SPDX-License-Identifier: GPL-2.0
/* The rings of a namespace: allocated for its first subscriber, freed with the namespace. */
#include <linux/mm.h>
#include <linux/slab.h>

#include "internal.h"

/* Runs in hard interrupt context, except on PREEMPT_RT. */
static void rings_kicked(struct irq_work *work)
{
	struct nlbus_ring *ring = container_of(work, struct nlbus_ring, kick);

	queue_work(nlbus_wq, &ring->nn->work);
}

/* For the worker: a ring may appear at any time, but is freed only after the worker has stopped. */
struct nlbus_ring *nlbus_ring_of(struct nlbus_net *nn, unsigned int cpu)
{
	return rcu_dereference_raw(per_cpu_ptr(nn->cpu, cpu)->ring);
}

static void rings_free_ring(struct nlbus_ring *ring)
{
	kvfree(ring->data);
	kfree(ring->lost);
	kfree(ring);
}

static struct nlbus_ring *rings_alloc_ring(struct nlbus_net *nn, unsigned int cpu)
{
	struct nlbus_ring *ring = kzalloc_node(sizeof(*ring), GFP_KERNEL_ACCOUNT, cpu_to_node(cpu));

	if (!ring)
		return NULL;
	ring->data = kvzalloc_node(nlbus_buffer_bytes, GFP_KERNEL_ACCOUNT, cpu_to_node(cpu));
	ring->lost = kcalloc_node(NLBUS_LOST, sizeof(*ring->lost), GFP_KERNEL_ACCOUNT,
				  cpu_to_node(cpu));
	if (!ring->data || !ring->lost) {
		rings_free_ring(ring);
		return NULL;
	}
	ring->size = nlbus_buffer_bytes;
	ring->nn = nn;
	init_irq_work(&ring->kick, rings_kicked);
	return ring;
}

/* Rings for all possible CPUs, so hotplug needs none. Call with @nn->setup held; may sleep. */
int nlbus_rings_alloc(struct nlbus_net *nn)
{
	struct nlbus_ring *ring;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		if (nlbus_ring_of(nn, cpu))
			continue;
		ring = rings_alloc_ring(nn, cpu);
		if (!ring)
			return -ENOMEM;
		rcu_assign_pointer(per_cpu_ptr(nn->cpu, cpu)->ring, ring);
	}
	return 0;
}

/* Publishers are gone, and the worker has stopped. */
void nlbus_rings_free(struct nlbus_net *nn)
{
	struct nlbus_ring *ring;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		ring = nlbus_ring_of(nn, cpu);
		if (ring)
			rings_free_ring(ring);
	}
}

/* Publishers are gone: wait for their last wake-ups of the worker. */
void nlbus_rings_sync(struct nlbus_net *nn)
{
	struct nlbus_ring *ring;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		ring = nlbus_ring_of(nn, cpu);
		if (ring)
			irq_work_sync(&ring->kick);
	}
}
