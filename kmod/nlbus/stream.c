// SPDX-License-Identifier: GPL-2.0
/*
 * The streams of a namespace, which only its worker touches: one per exact set of groups. Each
 * fills a pending datagram, numbers its events and says by a heartbeat how far it has come.
 */
#include <linux/ktime.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "internal.h"

/* A stream that is silent for this long sends its heartbeat. */
#define STREAM_IDLE_NS	(100 * NSEC_PER_MSEC)

static unsigned int stream_hash(u32 groups)
{
	BUILD_BUG_ON(2 * NLBUS_STREAMS != 1 << (32 - 23));
	return (groups * 0x9e3779b1U) >> 23;
}

static void stream_send(struct nlbus_net *nn, struct nlbus_stream *s, struct sk_buff *skb,
			u32 events)
{
	s->next_seq += events;
	s->next_dgram++;
	s->moved_ns = ktime_get_ns();
	s->dirty = events;
	nlbus_fan_out(nn, skb, s->groups, events);
}

static void stream_flush(struct nlbus_net *nn, struct nlbus_stream *s)
{
	struct sk_buff *skb = s->pending.skb;
	u32 events;

	if (!skb)
		return;
	events = nlbus_pending_seal(&s->pending, s);
	s->usual = skb->len;
	s->pending.skb = NULL;
	s->due_ns = 0;
	stream_send(nn, s, skb, events);
}

/* Report how far the stream has come, for readers to notice a lost end. If no memory, retry. */
static void stream_heartbeat(struct nlbus_net *nn, struct nlbus_stream *s)
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
	stream_send(nn, s, skb, 0);
}

/* The stream's next @count events are lost: readers never see their numbers. */
static void stream_lose(struct nlbus_net *nn, struct nlbus_stream *s, u64 count)
{
	stream_flush(nn, s);
	/* Readers count from the first datagram that they see. */
	if (!s->next_dgram)
		stream_heartbeat(nn, s);
	s->next_seq += count;
	s->moved_ns = ktime_get_ns();
	s->dirty = true;
}

static void stream_reindex(struct nlbus_streams *streams)
{
	unsigned int i, at;

	memset(streams->index, 0, sizeof(streams->index));
	for (i = 0; i < streams->count; i++) {
		at = stream_hash(streams->all[i].groups);
		while (streams->index[at])
			at = (at + 1) % ARRAY_SIZE(streams->index);
		streams->index[at] = i + 1;
	}
}

/* A new stream; where the table is full, it replaces the least recently used one. */
static struct nlbus_stream *stream_create(struct nlbus_net *nn, u32 groups)
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
		stream_flush(nn, s);
		if (s->dirty)
			stream_heartbeat(nn, s);
		atomic64_inc(&nn->evicted);
	}
	s->groups = groups;
	/* Datagrams of an earlier stream of these groups may still be queued: differ from it. */
	s->instance = get_random_u64();
	s->next_seq = 0;
	s->next_dgram = 0;
	s->dirty = false;
	stream_reindex(streams);
	return s;
}

static struct nlbus_stream *stream_find(struct nlbus_net *nn, u32 groups)
{
	struct nlbus_streams *streams = nn->streams;
	unsigned int at = stream_hash(groups);
	struct nlbus_stream *s;

	while (streams->index[at]) {
		s = &streams->all[streams->index[at] - 1];
		if (s->groups == groups)
			goto out;
		at = (at + 1) % ARRAY_SIZE(streams->index);
	}
	s = stream_create(nn, groups);
out:
	s->used = ++streams->ticks;
	return s;
}

/* When an event published at @time_ns must be sent. The clock may have been set since. */
static u64 stream_due(u64 time_ns, u64 linger_ns)
{
	u64 age = ktime_get_real_ns() - time_ns;

	return ktime_get_ns() + linger_ns - min(age, linger_ns);
}

/*
 * How large a datagram may become. Subscribers are charged for all of its memory, so allocate
 * little more than the ring holds (an event takes more in a ring than in a batch) or, as that may
 * belong to many streams, than the stream's last datagram took.
 */
static u32 stream_room(const struct nlbus_stream *s, unsigned long behind)
{
	return min3(NLBUS_HEAD + behind, max(2UL * s->usual, SZ_4K),
		    (unsigned long)NLBUS_MAX_DATAGRAM);
}

/* Append an event to its stream. @behind: bytes of the ring from this event to the newest one. */
struct nlbus_stream *nlbus_stream_append(struct nlbus_net *nn, const struct nlbus_record *event,
					 unsigned long behind)
{
	struct nlbus_stream *s = stream_find(nn, event->groups);
	u32 linger_us = READ_ONCE(nn->linger_us), chain_bytes = READ_ONCE(nn->chain_bytes);
	/* Events that linger wait for an unknown number of others. */
	u32 room = linger_us ? chain_bytes : stream_room(s, behind);
	int err = nlbus_pending_add(&s->pending, event, room, chain_bytes, linger_us);

	if (err == -ENOSPC) {
		stream_flush(nn, s);
		err = nlbus_pending_add(&s->pending, event, room, chain_bytes, linger_us);
	}
	if (err) {
		atomic64_inc(&nn->nomem);
		stream_lose(nn, s, 1);
	} else if (linger_us && !s->due_ns) {
		s->due_ns = stream_due(event->time_ns, linger_us * (u64)NSEC_PER_USEC);
	}
	return s;
}

/* A full ring refused @count events for @groups: leave a gap of as many in their stream. */
void nlbus_stream_lose(struct nlbus_net *nn, u32 groups, u32 count)
{
	stream_lose(nn, stream_find(nn, groups), count);
	while (groups)
		atomic64_add(count, &nn->stats[nlbus_next_group(&groups) - 1].overflow);
}

/* Events of unknown streams were refused: report too many losses rather than too few. */
void nlbus_streams_lose(struct nlbus_net *nn, unsigned long count)
{
	unsigned int i;

	for (i = 0; i < nn->streams->count; i++)
		stream_lose(nn, &nn->streams->all[i], count);
}

/* Send what is due. Returns the next deadline; sets @lingers if an event waits for others. */
u64 nlbus_streams_flush(struct nlbus_net *nn, bool *lingers)
{
	u64 now = ktime_get_ns(), next = U64_MAX;
	bool linger = READ_ONCE(nn->linger_us);
	struct nlbus_stream *s;
	unsigned int i;

	for (i = 0; i < nn->streams->count; i++) {
		s = &nn->streams->all[i];
		if (s->pending.skb && (!linger || s->due_ns <= now))
			stream_flush(nn, s);
		if (s->pending.skb) {
			next = min(next, s->due_ns);
			*lingers = true;
			continue;
		}
		if (s->dirty && s->moved_ns + STREAM_IDLE_NS <= now)
			stream_heartbeat(nn, s);
		if (s->dirty)
			next = min(next, s->moved_ns + STREAM_IDLE_NS);
	}
	return next;
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
