// SPDX-License-Identifier: GPL-2.0
/* Send a datagram to each group of its mask: netlink broadcasts to one group per call. */
#include <linux/ktime.h>

#include "internal.h"

/* A subscriber joins within this time after nlbus_bind(). */
#define SEND_JOINING_NS	(5ULL * NSEC_PER_SEC)

/* The group has no members: let publishers skip it. */
static void send_forget_group(struct nlbus_net *nn, unsigned int group)
{
	/* nlbus_bind() may just have announced a subscriber that has not joined yet. */
	spin_lock(&nn->bind_lock);
	if (ktime_get_ns() - nn->bound_ns > SEND_JOINING_NS)
		WRITE_ONCE(nn->listeners, nn->listeners & ~BIT(group - 1));
	spin_unlock(&nn->bind_lock);
}

/*
 * Broadcast a datagram of @events events, and consume it. Returns -ENOBUFS if a subscriber that
 * has set NETLINK_BROADCAST_ERROR had no room, or another error if a whole group failed; all
 * others got it.
 */
int nlbus_fan_out(struct nlbus_net *nn, struct sk_buff *skb, u32 groups, u32 events)
{
	u32 here = READ_ONCE(nn->listeners) & groups, away = groups & ~here;
	struct nlbus_group_stats *stats;
	unsigned int group, len = skb->len;
	int err = 0, one;

	while (away)
		atomic64_add(events, &nn->stats[nlbus_next_group(&away) - 1].skipped);
	if (!here)
		kfree_skb(skb);
	while (here) {
		group = nlbus_next_group(&here);
		stats = &nn->stats[group - 1];
		/* While we hold a reference, subscribers get clones, which keep their own group. */
		NETLINK_CB(skb).dst_group = group;
		one = netlink_broadcast(nn->sk, here ? skb_get(skb) : skb, 0, group, GFP_KERNEL);
		/* -ESRCH also means full buffers; the check spans namespaces, so run it last. */
		if (one == -ESRCH && !netlink_has_listeners(nn->sk, group)) {
			atomic64_add(events, &stats->skipped);
			send_forget_group(nn, group);
			continue;
		}
		atomic64_add(events, &stats->events);
		atomic64_add(len, &stats->bytes);
		atomic64_inc(&stats->datagrams);
		if (one)
			atomic64_inc(&stats->failed);
		if (one && one != -ESRCH)
			err = err ?: one;
	}
	return err;
}
