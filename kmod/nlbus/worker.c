// SPDX-License-Identifier: GPL-2.0
/*
 * The worker: one work item a namespace, and the only one to know its streams.
 *
 * It takes events out of the rings, in each CPU's order, and appends them to the
 * pending datagram of their stream. What has been pending for linger_us, or all
 * of it where that is 0, is numbered and broadcast when the rings are empty.
 */
#include <linux/ktime.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "internal.h"

/* A stream silent for so long gets its heartbeat. */
#define IDLE_NS		(100 * NSEC_PER_MSEC)

static unsigned int hash_groups(u32 groups)
{
	BUILD_BUG_ON(2 * NLBUS_STREAMS != 1 << (32 - 23));
	return (groups * 0x9e3779b1U) >> 23;
}

static void send(struct nlbus_net *nn, struct nlbus_stream *s, struct sk_buff *skb, u32 events)
{
	s->next_seq += events;
	s->next_dgram++;
	s->moved_ns = ktime_get_ns();
	s->dirty = events;
	nlbus_fan_out(nn, skb, s->groups, events);
}

static void flush(struct nlbus_net *nn, struct nlbus_stream *s)
{
	struct sk_buff *skb = s->pending.skb;
	u32 events;

	if (!skb)
		return;
	events = nlbus_pending_seal(&s->pending, s);
	s->usual = skb->len;
	s->pending.skb = NULL;
	s->due_ns = 0;
	send(nn, s, skb, events);
}

/* Say how far the stream has come, so that a lost end is noticed. Without memory, it stays to be said. */
static void heartbeat(struct nlbus_net *nn, struct nlbus_stream *s)
{
	struct nlbus_batch head = {
		.instance = s->instance,
		.first_seq = s->next_seq,
		.dgram_seq = s->next_dgram,
		.time_ns = ktime_get_real_ns(),
		.groups = s->groups,
	};
	struct sk_buff *skb = alloc_skb(NLBUS_HEAD, GFP_KERNEL);

	s->moved_ns = ktime_get_ns();
	if (!skb)
		return;
	nlbus_put_head(skb_put(skb, NLBUS_HEAD), &head, 0);
	send(nn, s, skb, 0);
}

/* The stream's next @count events are lost: their numbers are never seen. */
static void lose(struct nlbus_net *nn, struct nlbus_stream *s, u64 count)
{
	flush(nn, s);
	/* Readers count from the first datagram that they see. */
	if (!s->next_dgram)
		heartbeat(nn, s);
	s->next_seq += count;
	s->moved_ns = ktime_get_ns();
	s->dirty = true;
}

static void reindex(struct nlbus_streams *streams)
{
	unsigned int i, at;

	memset(streams->index, 0, sizeof(streams->index));
	for (i = 0; i < streams->count; i++) {
		at = hash_groups(streams->all[i].groups);
		while (streams->index[at])
			at = (at + 1) % ARRAY_SIZE(streams->index);
		streams->index[at] = i + 1;
	}
}

/* A new stream; when there are too many, in the place of the one that was silent longest. */
static struct nlbus_stream *create_stream(struct nlbus_net *nn, u32 groups)
{
	struct nlbus_streams *streams = nn->streams;
	struct nlbus_stream *s = streams->all;
	unsigned int i;

	if (streams->count < NLBUS_STREAMS) {
		s = &streams->all[streams->count];
		streams->count++;
	} else {
		for (i = 1; i < streams->count; i++)
			if (streams->all[i].used < s->used)
				s = &streams->all[i];
		flush(nn, s);
		if (s->dirty)
			heartbeat(nn, s);
		atomic64_inc(&nn->evicted);
	}
	s->groups = groups;
	/* Nobody can mistake it for another, of which datagrams may still be under way. */
	s->instance = get_random_u64();
	s->next_seq = 0;
	s->next_dgram = 0;
	s->dirty = false;
	reindex(streams);
	return s;
}

static struct nlbus_stream *find_stream(struct nlbus_net *nn, u32 groups)
{
	struct nlbus_streams *streams = nn->streams;
	unsigned int at = hash_groups(groups);
	struct nlbus_stream *s;

	while (streams->index[at]) {
		s = &streams->all[streams->index[at] - 1];
		if (s->groups == groups)
			goto out;
		at = (at + 1) % ARRAY_SIZE(streams->index);
	}
	s = create_stream(nn, groups);
out:
	s->used = ++streams->ticks;
	return s;
}

/* When an event that was published at that time must go. The clock may have been set meanwhile. */
static u64 due(u64 time_ns, u64 linger_ns)
{
	u64 age = ktime_get_real_ns() - time_ns;

	return ktime_get_ns() + linger_ns - min(age, linger_ns);
}

/*
 * How large a datagram may get. With the memory comes what subscribers are charged for: not for much more than is
 * there (in a ring events take more than in a batch) or, where they are of many streams, what was there before.
 */
static u32 room_for(const struct nlbus_stream *s, unsigned long behind)
{
	return min3(NLBUS_HEAD + behind, max(2UL * s->usual, SZ_4K), (unsigned long)NLBUS_MAX_DATAGRAM);
}

/* @behind: bytes of the ring that this event and those behind it take. */
static struct nlbus_stream *append(struct nlbus_net *nn, const struct nlbus_record *event, unsigned long behind)
{
	struct nlbus_stream *s = find_stream(nn, event->groups);
	u32 linger_us = READ_ONCE(nn->linger_us), chain_bytes = READ_ONCE(nn->chain_bytes);
	/* Who knows what else comes, where they linger. */
	u32 room = linger_us ? chain_bytes : room_for(s, behind);
	int error = nlbus_pending_add(&s->pending, event, room, chain_bytes, linger_us);

	if (error == -ENOSPC) {
		flush(nn, s);
		error = nlbus_pending_add(&s->pending, event, room, chain_bytes, linger_us);
	}
	if (error) {
		atomic64_inc(&nn->nomem);
		lose(nn, s, 1);
	} else if (linger_us && !s->due_ns) {
		s->due_ns = due(event->time_ns, linger_us * (u64)NSEC_PER_USEC);
	}
	return s;
}

/* The rule, and short. */
static bool like_the_last(struct nlbus_stream *s, const struct nlbus_record *event)
{
	return s->groups == event->groups && nlbus_pending_again(&s->pending, event);
}

static void drain(struct nlbus_net *nn, struct nlbus_ring *ring)
{
	/* The records after their announcement; pairs with leave(). */
	unsigned long tail = ring->tail, end = smp_load_acquire(&ring->committed);
	const struct nlbus_record *record;
	struct nlbus_stream *s = NULL;

	while (tail != end) {
		record = (struct nlbus_record *)(ring->data + (tail & (ring->size - 1)));
		if (record->groups && !(s && like_the_last(s, record)))
			s = append(nn, record, end - tail);
		tail += record->size;
		/* Publishers may write there, now that we have read; pairs with claim(). */
		smp_store_release(&ring->tail, tail);
	}
}

static void lost_of_mask(struct nlbus_net *nn, u32 groups, unsigned long count)
{
	lose(nn, find_stream(nn, groups), count);
	while (groups)
		atomic64_add(count, &nn->stats[nlbus_next_group(&groups) - 1].overflow);
}

/* What the ring did not take is missing in its streams. */
static void take_lost(struct nlbus_net *nn, struct nlbus_ring *ring)
{
	unsigned long all = local_read(&ring->lost_all), count, i;
	struct nlbus_lost *slot;

	if (all == ring->lost_seen)
		return;
	/* The sum before its parts; pairs with count_lost(). What is added meanwhile shows up in the next sum. */
	smp_rmb();
	atomic64_add(all - ring->lost_seen, &nn->overflow);
	ring->lost_seen = all;
	for (i = 0; i < NLBUS_LOST; i++) {
		slot = &ring->lost[i];
		count = local_read(&slot->count);
		if (count != slot->seen)
			lost_of_mask(nn, READ_ONCE(slot->groups), count - slot->seen);
		slot->seen = count;
	}
	/* Too many masks to know whose it was: better too much than silence. */
	count = local_read(&ring->lost_other);
	if (count != ring->other_seen)
		for (i = 0; i < nn->streams->count; i++)
			lose(nn, &nn->streams->all[i], count - ring->other_seen);
	ring->other_seen = count;
}

/* Send what is due. Returns when the next is, and whether that is an event that waits for others. */
static u64 flush_due(struct nlbus_net *nn, bool *lingers)
{
	u64 now = ktime_get_ns(), next = U64_MAX;
	bool linger = READ_ONCE(nn->linger_us);
	struct nlbus_stream *s;
	unsigned int i;

	for (i = 0; i < nn->streams->count; i++) {
		s = &nn->streams->all[i];
		if (s->pending.skb && (!linger || s->due_ns <= now))
			flush(nn, s);
		if (s->pending.skb) {
			next = min(next, s->due_ns);
			*lingers = true;
			continue;
		}
		if (s->dirty && s->moved_ns + IDLE_NS <= now)
			heartbeat(nn, s);
		if (s->dirty)
			next = min(next, s->moved_ns + IDLE_NS);
	}
	return next;
}

/* Let publishers call us when there are more than @ahead bytes. Returns false if there are, or losses. */
static bool fall_asleep(struct nlbus_ring *ring, unsigned long ahead)
{
	WRITE_ONCE(ring->wake_at, ring->tail + ahead);
	/* We go to sleep, then look once more; pairs with the barriers in leave() and count_lost(). */
	smp_mb();
	return READ_ONCE(ring->committed) - ring->tail <= ahead && local_read(&ring->lost_all) == ring->lost_seen;
}

static void arm(struct nlbus_net *nn, u64 at)
{
	/* A timer that is early does no harm: moving it with each datagram would. */
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

	/* Nobody ever listened; pairs with listen(). */
	if (!smp_load_acquire(&nn->streams))
		return;
	if (nn->timer_ns <= ktime_get_ns())
		nn->timer_ns = 0;
	for_each_possible_cpu(cpu) {
		ring = nlbus_ring_of(nn, cpu);
		WRITE_ONCE(ring->wake_at, ring->tail + LONG_MAX);
		drain(nn, ring);
		take_lost(nn, ring);
		cond_resched();
	}
	next = flush_due(nn, &lingers);
	/* While an event waits, further ones may do so in the rings, but must not fill them. */
	if (lingers)
		ahead = min(nlbus_buffer_bytes / 2, READ_ONCE(nn->chain_bytes));
	for_each_possible_cpu(cpu)
		again |= !fall_asleep(nlbus_ring_of(nn, cpu), ahead);
	if (again)
		queue_work(nlbus_wq, work);
	arm(nn, next);
}

void nlbus_streams_free(struct nlbus_net *nn)
{
	unsigned int i;

	if (!nn->streams)
		return;
	for (i = 0; i < nn->streams->count; i++)
		nlbus_pending_free(&nn->streams->all[i].pending);
	kvfree(nn->streams);
}
