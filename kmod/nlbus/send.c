// SPDX-License-Identifier: GPL-2.0
/* A datagram goes to each group of its mask: netlink broadcasts to one group a call. */
#include <linux/ktime.h>

#include "internal.h"

/* A subscriber joins within this time of having said so. */
#define JOINING_NS	(5 * NSEC_PER_SEC)

/* Nobody belongs to the group any more: publishers need not go on. */
static void forget_group(struct nlbus_net *nn, unsigned int group)
{
	/* Against nlbus_bind(), which is called before a subscriber belongs to the group. */
	spin_lock(&nn->bind_lock);
	if (ktime_get_ns() - nn->bound_ns > JOINING_NS)
		WRITE_ONCE(nn->listeners, nn->listeners & ~BIT(group - 1));
	spin_unlock(&nn->bind_lock);
}

/*
 * Broadcast a datagram with so many events, which is consumed. Returns -ENOBUFS if a subscriber that has set
 * NETLINK_BROADCAST_ERROR could not take it, or if it failed so with a group as a whole; all others got it.
 */
int nlbus_fan_out(struct nlbus_net *nn, struct sk_buff *skb, u32 groups, u32 events)
{
	u32 here = READ_ONCE(nn->listeners) & groups, away = groups & ~here;
	struct nlbus_group_stats *stats;
	unsigned int group, len = skb->len;
	int error = 0, one;

	while (away)
		atomic64_add(events, &nn->stats[nlbus_next_group(&away) - 1].skipped);
	if (!here)
		kfree_skb(skb);
	while (here) {
		group = nlbus_next_group(&here);
		stats = &nn->stats[group - 1];
		/* As long as we hold it, too, subscribers get clones: the group is theirs to keep. */
		NETLINK_CB(skb).dst_group = group;
		one = netlink_broadcast(nn->sk, here ? skb_get(skb) : skb, 0, group, GFP_KERNEL);
		/* Also where all buffers were full. The question is for all namespaces, hence only asked here. */
		if (one == -ESRCH && !netlink_has_listeners(nn->sk, group)) {
			atomic64_add(events, &stats->skipped);
			forget_group(nn, group);
			continue;
		}
		atomic64_add(events, &stats->events);
		atomic64_add(len, &stats->bytes);
		atomic64_inc(&stats->datagrams);
		if (one)
			atomic64_inc(&stats->failed);
		if (one && one != -ESRCH)
			error = error ?: one;
	}
	return error;
}
