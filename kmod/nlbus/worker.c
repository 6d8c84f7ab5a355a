// SPDX-License-Identifier: GPL-2.0
/*
 * The worker: one work item per namespace.
 *
 * It takes events out of the rings, one CPU after the other, and appends them to their streams.
 * When the rings are empty, the streams send what has been pending for linger_us, or everything
 * if that is 0.
 */
#include <linux/ktime.h>
#include <linux/sched.h>

#include "internal.h"

/* Common case, fast path: another event like the one before. */
static bool worker_append_same(struct nlbus_stream *s, const struct nlbus_record *event)
{
	return s->groups == event->groups && nlbus_pending_add_same(&s->pending, event);
}

static void worker_drain(struct nlbus_net *nn, struct nlbus_ring *ring)
{
	/* @committed before the records; pairs with ring_leave(). */
	unsigned long tail = ring->tail, end = smp_load_acquire(&ring->committed);
	const struct nlbus_record *record;
	struct nlbus_stream *s = NULL;

	while (tail != end) {
		record = (struct nlbus_record *)(ring->data + (tail & (ring->size - 1)));
		if (record->groups && !(s && worker_append_same(s, record)))
			s = nlbus_stream_append(nn, record, end - tail);
		tail += record->size;
		/* We have read the record, publishers may overwrite it; pairs with ring_claim(). */
		smp_store_release(&ring->tail, tail);
	}
}

/* Turn what the ring refused into gaps of the streams. */
static void worker_take_lost(struct nlbus_net *nn, struct nlbus_ring *ring)
{
	unsigned long all = local_read(&ring->lost_all), other;
	unsigned int i;
	u64 lost;

	if (all == ring->lost_seen)
		return;
	/* The sum before its parts; pairs with ring_count_lost(). More losses change it again. */
	smp_rmb();
	atomic64_add(all - ring->lost_seen, &nn->overflow);
	ring->lost_seen = all;
	for (i = 0; i < NLBUS_LOST; i++) {
		if (!atomic64_read(&ring->lost[i]))
			continue;
		lost = atomic64_xchg(&ring->lost[i], 0);
		nlbus_stream_lose(nn, upper_32_bits(lost), lower_32_bits(lost));
	}
	other = local_read(&ring->lost_other);
	if (other != ring->other_seen)
		nlbus_streams_lose(nn, other - ring->other_seen);
	ring->other_seen = other;
}

/* Have publishers wake us for more than @ahead bytes. False if so many, or losses, wait already. */
static bool worker_sleep(struct nlbus_ring *ring, unsigned long ahead)
{
	WRITE_ONCE(ring->wake_at, ring->tail + ahead);
	/* Announce our sleep, then look again; pairs with ring_leave() and ring_count_lost(). */
	smp_mb();
	return READ_ONCE(ring->committed) - ring->tail <= ahead &&
	       local_read(&ring->lost_all) == ring->lost_seen;
}

static void worker_arm_timer(struct nlbus_net *nn, u64 at)
{
	/* A timer that fires early is harmless, moving it with each datagram is expensive. */
	if (at == U64_MAX || READ_ONCE(nn->closing) || (nn->timer_ns && nn->timer_ns <= at))
		return;
	nn->timer_ns = at;
	hrtimer_start(&nn->timer, ns_to_ktime(at), HRTIMER_MODE_ABS);
}

enum hrtimer_restart nlbus_timer(struct hrtimer *timer)
{
	queue_work(nlbus_wq, &container_of(timer, struct nlbus_net, timer)->work);
	return HRTIMER_NORESTART;
}

void nlbus_work(struct work_struct *work)
{
	struct nlbus_net *nn = container_of(work, struct nlbus_net, work);
	unsigned long ahead = 0;
	struct nlbus_ring *ring;
	bool again = false, lingers = false;
	unsigned int cpu;
	u64 next;

	/* No subscriber ever joined; pairs with nlbus_net_listen(). */
	if (!smp_load_acquire(&nn->streams))
		return;
	if (nn->timer_ns <= ktime_get_ns())
		nn->timer_ns = 0;
	for_each_possible_cpu(cpu) {
		ring = nlbus_ring_of(nn, cpu);
		WRITE_ONCE(ring->wake_at, ring->tail + LONG_MAX);
		worker_drain(nn, ring);
		worker_take_lost(nn, ring);
		cond_resched();
	}
	next = nlbus_streams_flush(nn, &lingers);
	/* While an event lingers, others may wait in the rings, but must not fill them. */
	if (lingers)
		ahead = min(nlbus_buffer_bytes / 2, READ_ONCE(nn->chain_bytes));
	for_each_possible_cpu(cpu)
		again |= !worker_sleep(nlbus_ring_of(nn, cpu), ahead);
	if (again)
		queue_work(nlbus_wq, work);
	worker_arm_timer(nn, next);
}
