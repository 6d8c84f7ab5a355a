// SPDX-License-Identifier: GPL-2.0
/*
 * nlbus_packet.ko: IP packets as events of the bus, and a small filter. It is also the example of a
 * client of nlbus.ko: nlbus.h is all it includes of it.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/netfilter_ipv4.h>
#include <net/netns/generic.h>

#include "../nlbus.h"
#include "packet.h"

static u32 packet_group(unsigned int group)
{
	return 1U << (group - 1);
}

static unsigned int packet_hook(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	u32 dropped = packet_group(NLBUS_PACKET_GROUP_DROP);
	u32 groups = packet_group(NLBUS_PACKET_GROUP_PRE_ROUTING + state->hook);
	struct packet_net *pn = packet_net(state->net);
	struct nlbus_packet packet;
	struct packet_rule *rule;
	bool publish = true;

	if (list_empty(&pn->rules) && !nlbus_listening(state->net, groups))
		return NF_ACCEPT;

	packet_parse(&packet, skb, state);
	packet.verdict = NF_ACCEPT;
	rule = packet_rules_match(pn, &packet, state);
	if (rule) {
		packet.rule = rule->handle;
		if (rule->action == NLBUS_PACKET_DROP) {
			packet.verdict = NF_DROP;
			groups |= dropped;
		}
		publish = packet_rule_reports(rule);
	}
	publish = publish && nlbus_listening(state->net, groups) &&
		  !nlbus_publish(state->net, groups, NLBUS_PACKET_TYPE, &packet, sizeof(packet));
	if (rule)
		packet_rule_count(rule, packet.length, publish);
	return packet.verdict;
}

/* After connection tracking, so that its state is known. */
#define PACKET_HOOK(number)				\
	{						\
		.hook = packet_hook,			\
		.pf = NFPROTO_INET,			\
		.hooknum = (number),			\
		.priority = NF_IP_PRI_CONNTRACK + 1,	\
	}

static const struct nf_hook_ops packet_hooks[] = {
	PACKET_HOOK(NF_INET_PRE_ROUTING),
	PACKET_HOOK(NF_INET_LOCAL_IN),
	PACKET_HOOK(NF_INET_FORWARD),
	PACKET_HOOK(NF_INET_LOCAL_OUT),
	PACKET_HOOK(NF_INET_POST_ROUTING),
};

static int __net_init packet_net_init(struct net *net)
{
	struct packet_net *pn = packet_net(net);

	INIT_LIST_HEAD(&pn->rules);
	mutex_init(&pn->lock);
	pn->generation = 1;
	return nf_register_net_hooks(net, packet_hooks, ARRAY_SIZE(packet_hooks));
}

/* An RCU grace period lies between this and packet_net_exit(). */
static void __net_exit packet_net_pre_exit(struct net *net)
{
	nf_unregister_net_hooks(net, packet_hooks, ARRAY_SIZE(packet_hooks));
}

static void __net_exit packet_net_exit(struct net *net)
{
	struct packet_net *pn = packet_net(net);

	mutex_lock(&pn->lock);
	packet_rules_flush(pn);
	mutex_unlock(&pn->lock);
}

static struct pernet_operations packet_net_ops = {
	.init = packet_net_init,
	.pre_exit = packet_net_pre_exit,
	.exit = packet_net_exit,
	.id = &packet_net_id,
	.size = sizeof(struct packet_net),
};

static int __init packet_init(void)
{
	int err;

	BUILD_BUG_ON(sizeof(struct nlbus_packet) != 104);
	BUILD_BUG_ON(NLBUS_PACKET_GROUP_POST_ROUTING !=
		     NLBUS_PACKET_GROUP_PRE_ROUTING + NF_INET_POST_ROUTING);

	err = nlbus_register_type(NLBUS_PACKET_TYPE, NLBUS_PACKET_FINGERPRINT);
	if (err)
		return err;
	err = register_pernet_subsys(&packet_net_ops);
	if (err)
		goto out_type;
	err = packet_genl_init();
	if (err)
		goto out_net;
	return 0;

out_net:
	unregister_pernet_subsys(&packet_net_ops);
out_type:
	nlbus_unregister_type(NLBUS_PACKET_TYPE);
	return err;
}

static void __exit packet_exit(void)
{
	packet_genl_exit();
	unregister_pernet_subsys(&packet_net_ops);
	nlbus_unregister_type(NLBUS_PACKET_TYPE);
	rcu_barrier(); /* our code frees the rules */
}

module_init(packet_init);
module_exit(packet_exit);

MODULE_DESCRIPTION("IP packets as events of nlbus, and a small filter");
MODULE_AUTHOR("The nlbus authors");
MODULE_LICENSE("GPL");
MODULE_ALIAS("net-pf-16-proto-16-family-" NLBUS_PACKET_FAMILY);
