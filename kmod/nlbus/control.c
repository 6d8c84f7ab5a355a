// SPDX-License-Identifier: GPL-2.0
/* Parameters and statistics by netlink, for the network namespace of the requesting socket. */
#include <linux/capability.h>
#include <net/netlink.h>

#include "internal.h"

static struct netlink_range_validation control_chain_range = {
	.min = NLBUS_MIN_CHAIN,
	.max = NLBUS_MAX_DATAGRAM,
};

static struct netlink_range_validation control_linger_range = {
	.max = NLBUS_MAX_LINGER_US,
};

#define CONTROL_READ_ONLY { .type = NLA_REJECT, .reject_message = "cannot be changed" }

static const struct nla_policy control_policy[NLBUS_PARAM_MAX + 1] = {
	[NLBUS_PARAM_CHAIN_BYTES] = NLA_POLICY_FULL_RANGE(NLA_U32, &control_chain_range),
	[NLBUS_PARAM_LINGER_US] = NLA_POLICY_FULL_RANGE(NLA_U32, &control_linger_range),
	[NLBUS_PARAM_BUFFER_BYTES] = CONTROL_READ_ONLY,
	[NLBUS_PARAM_OPEN_RECEIVE] = CONTROL_READ_ONLY,
	[NLBUS_PARAM_LISTENERS] = CONTROL_READ_ONLY,
};

static int control_set(struct nlbus_net *nn, struct sk_buff *skb, const struct nlmsghdr *nlh,
		       struct netlink_ext_ack *extack)
{
	struct nlattr *attrs[NLBUS_PARAM_MAX + 1];
	int err;

	if (!netlink_net_capable(skb, CAP_NET_ADMIN)) {
		NL_SET_ERR_MSG(extack,
			       "NLBUS_MSG_SET needs CAP_NET_ADMIN in the network namespace");
		return -EPERM;
	}
	err = nlmsg_parse(nlh, 0, attrs, NLBUS_PARAM_MAX, control_policy, extack);
	if (err)
		return err;
	if (attrs[NLBUS_PARAM_CHAIN_BYTES])
		WRITE_ONCE(nn->chain_bytes, nla_get_u32(attrs[NLBUS_PARAM_CHAIN_BYTES]));
	if (attrs[NLBUS_PARAM_LINGER_US])
		WRITE_ONCE(nn->linger_us, nla_get_u32(attrs[NLBUS_PARAM_LINGER_US]));
	/* Lingering events may be due now. */
	queue_work(nlbus_wq, &nn->work);
	return 0;
}

static int control_get(struct nlbus_net *nn, struct sk_buff *skb, const struct nlmsghdr *request)
{
	const size_t size = NLBUS_PARAM_MAX * nla_total_size(sizeof(u32));
	struct sk_buff *answer = nlmsg_new(size, GFP_KERNEL);
	u32 portid = NETLINK_CB(skb).portid;
	struct nlmsghdr *nlh;

	if (!answer)
		return -ENOMEM;
	nlh = nlmsg_put(answer, portid, request->nlmsg_seq, NLBUS_MSG_GET, 0, 0);
	if (!nlh || nla_put_u32(answer, NLBUS_PARAM_CHAIN_BYTES, READ_ONCE(nn->chain_bytes)) ||
	    nla_put_u32(answer, NLBUS_PARAM_LINGER_US, READ_ONCE(nn->linger_us)) ||
	    nla_put_u32(answer, NLBUS_PARAM_BUFFER_BYTES, nlbus_buffer_bytes) ||
	    nla_put_u32(answer, NLBUS_PARAM_OPEN_RECEIVE, nlbus_open_receive) ||
	    nla_put_u32(answer, NLBUS_PARAM_LISTENERS, READ_ONCE(nn->listeners))) {
		nlmsg_free(answer);
		return -EMSGSIZE;
	}
	nlmsg_end(answer, nlh);
	return nlmsg_unicast(nn->sk, answer, portid);
}

static int control_put_count(struct sk_buff *skb, int attr, u64 value)
{
	return nla_put_u64_64bit(skb, attr, value, NLBUS_STAT_PAD);
}

static int control_put_net(struct sk_buff *skb, struct nlbus_net *nn)
{
	/* Pairs with nlbus_net_listen(). */
	struct nlbus_streams *streams = smp_load_acquire(&nn->streams);

	return nla_put_u32(skb, NLBUS_STAT_GROUP, 0) ?:
	       control_put_count(skb, NLBUS_STAT_OVERFLOW, atomic64_read(&nn->overflow)) ?:
	       control_put_count(skb, NLBUS_STAT_NOMEM, atomic64_read(&nn->nomem)) ?:
	       control_put_count(skb, NLBUS_STAT_REFUSED, atomic64_read(&nn->refused)) ?:
	       control_put_count(skb, NLBUS_STAT_EVICTED, atomic64_read(&nn->evicted)) ?:
	       nla_put_u32(skb, NLBUS_STAT_STREAMS, streams ? READ_ONCE(streams->count) : 0);
}

static int control_put_group(struct sk_buff *skb, struct nlbus_net *nn, unsigned int group)
{
	struct nlbus_group_stats *stats = &nn->stats[group - 1];
	u64 skipped = atomic64_read(&stats->skipped);
	unsigned int cpu;

	for_each_possible_cpu(cpu)
		skipped += READ_ONCE(per_cpu_ptr(nn->cpu, cpu)->skipped[group - 1]);
	return nla_put_u32(skb, NLBUS_STAT_GROUP, group) ?:
	       control_put_count(skb, NLBUS_STAT_EVENTS, atomic64_read(&stats->events)) ?:
	       control_put_count(skb, NLBUS_STAT_BYTES, atomic64_read(&stats->bytes)) ?:
	       control_put_count(skb, NLBUS_STAT_DATAGRAMS, atomic64_read(&stats->datagrams)) ?:
	       control_put_count(skb, NLBUS_STAT_SKIPPED, skipped) ?:
	       control_put_count(skb, NLBUS_STAT_FAILED, atomic64_read(&stats->failed)) ?:
	       control_put_count(skb, NLBUS_STAT_OVERFLOW, atomic64_read(&stats->overflow));
}

/* cb->args[0]: next group to dump; 0 is the namespace as a whole. */
static int control_dump_stats(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nlbus_net *nn = nlbus_pernet(sock_net(skb->sk));
	struct nlmsghdr *nlh;
	int err;

	for (; cb->args[0] <= NLBUS_GROUPS; cb->args[0]++) {
		nlh = nlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				NLBUS_MSG_STATS, 0, NLM_F_MULTI);
		if (!nlh)
			break;
		err = cb->args[0] ? control_put_group(skb, nn, cb->args[0]) :
				    control_put_net(skb, nn);
		if (err) {
			nlmsg_cancel(skb, nlh);
			break;
		}
		nlmsg_end(skb, nlh);
	}
	return skb->len;
}

int nlbus_control(struct sk_buff *skb, struct nlmsghdr *nlh, struct netlink_ext_ack *extack)
{
	struct nlbus_net *nn = nlbus_pernet(sock_net(skb->sk));
	struct netlink_dump_control dump = { .dump = control_dump_stats };

	switch (nlh->nlmsg_type) {
	case NLBUS_MSG_GET:
		return control_get(nn, skb, nlh);
	case NLBUS_MSG_SET:
		return control_set(nn, skb, nlh, extack);
	case NLBUS_MSG_STATS:
		if (nlh->nlmsg_flags & NLM_F_DUMP)
			return netlink_dump_start(nn->sk, skb, nlh, &dump);
		NL_SET_ERR_MSG(extack, "NLBUS_MSG_STATS needs NLM_F_DUMP");
		return -EINVAL;
	default:
		NL_SET_ERR_MSG(extack, "unknown nlmsg_type");
		return -EOPNOTSUPP;
	}
}
