// SPDX-License-Identifier: GPL-2.0
/* The commands of the generic netlink family: add, delete and dump rules. */
#include <net/sock.h>

#include "packet.h"

static struct genl_family packet_family;

static void packet_answer(struct sk_buff *skb, struct genl_info *info,
			  const struct packet_rule *rule)
{
	void *header = genlmsg_put_reply(skb, info, &packet_family, 0, NLBUS_PACKET_CMD_ADD);

	if (WARN_ON_ONCE(!header || packet_put_rule(skb, rule))) {
		nlmsg_free(skb);
		return;
	}
	genlmsg_end(skb, header);
	/* The rule stays even if the requester has no room for the answer. */
	genlmsg_reply(skb, info);
}

static int packet_add_locked(struct packet_net *pn, struct packet_rule *rule,
			     struct genl_info *info)
{
	struct nlattr *where = info->attrs[NLBUS_PACKET_A_BEFORE];
	struct packet_rule *before = NULL;

	if (pn->count >= NLBUS_PACKET_MAX_RULES) {
		GENL_SET_ERR_MSG(info, "this namespace has the maximum number of rules");
		return -ENOSPC;
	}
	if (where) {
		before = packet_rule_find(pn, nla_get_u32(where));
		if (!before) {
			NL_SET_ERR_MSG_ATTR(info->extack, where,
					    "no rule to insert before has this handle");
			return -ENOENT;
		}
	}
	packet_rule_insert(pn, rule, before);
	return 0;
}

static int packet_cmd_add(struct sk_buff *skb, struct genl_info *info)
{
	struct packet_net *pn = packet_net(genl_info_net(info));
	struct packet_rule *rule = packet_rule_alloc();
	struct sk_buff *answer;
	int err;

	if (!rule)
		return -ENOMEM;
	err = packet_get_rule(rule, info);
	if (err)
		goto out_rule;
	err = -ENOMEM;
	answer = genlmsg_new(GENLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!answer)
		goto out_rule;
	mutex_lock(&pn->lock);
	err = packet_add_locked(pn, rule, info);
	if (!err)
		packet_answer(answer, info, rule);
	mutex_unlock(&pn->lock);
	if (!err)
		return 0;
	nlmsg_free(answer);
out_rule:
	packet_rule_free(rule);
	return err;
}

static int packet_cmd_del(struct sk_buff *skb, struct genl_info *info)
{
	struct packet_net *pn = packet_net(genl_info_net(info));
	struct nlattr *handle = info->attrs[NLBUS_PACKET_A_HANDLE];
	struct packet_rule *rule;

	if (!handle)
		return packet_refuse(info, NULL, "a handle is required");
	mutex_lock(&pn->lock);
	rule = packet_rule_find(pn, nla_get_u32(handle));
	if (rule)
		packet_rule_remove(pn, rule);
	mutex_unlock(&pn->lock);
	if (rule)
		return 0;
	NL_SET_ERR_MSG_ATTR(info->extack, handle, "no rule has this handle");
	return -ENOENT;
}

static int packet_cmd_flush(struct sk_buff *skb, struct genl_info *info)
{
	struct packet_net *pn = packet_net(genl_info_net(info));

	mutex_lock(&pn->lock);
	packet_rules_flush(pn);
	mutex_unlock(&pn->lock);
	return 0;
}

static int packet_dump_rule(struct sk_buff *skb, struct netlink_callback *cb,
			    const struct packet_rule *rule)
{
	void *header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq,
				   &packet_family, NLM_F_MULTI, NLBUS_PACKET_CMD_ADD);

	if (!header)
		return -EMSGSIZE;
	genl_dump_check_consistent(cb, header);
	if (packet_put_rule(skb, rule)) {
		genlmsg_cancel(skb, header);
		return -EMSGSIZE;
	}
	genlmsg_end(skb, header);
	return 0;
}

/* cb->args[0]: next place to dump. NLM_F_DUMP_INTR tells the reader of changes meanwhile. */
static int packet_cmd_get(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct packet_net *pn = packet_net(sock_net(skb->sk));
	struct packet_rule *rule;
	long place = 0;

	mutex_lock(&pn->lock);
	cb->seq = pn->generation;
	list_for_each_entry(rule, &pn->rules, list) {
		if (place++ < cb->args[0])
			continue;
		if (packet_dump_rule(skb, cb, rule))
			break;
		cb->args[0] = place;
	}
	mutex_unlock(&pn->lock);
	return skb->len;
}

static const struct genl_small_ops packet_ops[] = {
	{ .cmd = NLBUS_PACKET_CMD_ADD, .flags = GENL_UNS_ADMIN_PERM, .doit = packet_cmd_add },
	{ .cmd = NLBUS_PACKET_CMD_DEL, .flags = GENL_UNS_ADMIN_PERM, .doit = packet_cmd_del },
	{ .cmd = NLBUS_PACKET_CMD_FLUSH, .flags = GENL_UNS_ADMIN_PERM, .doit = packet_cmd_flush },
	{ .cmd = NLBUS_PACKET_CMD_GET, .flags = GENL_UNS_ADMIN_PERM, .dumpit = packet_cmd_get },
};

static struct genl_family packet_family __ro_after_init = {
	.name = NLBUS_PACKET_FAMILY,
	.version = NLBUS_PACKET_VERSION,
	.maxattr = NLBUS_PACKET_A_MAX,
	.policy = packet_policy,
	.netnsok = true,
	.module = THIS_MODULE,
	.small_ops = packet_ops,
	.n_small_ops = ARRAY_SIZE(packet_ops),
};

int __init packet_genl_init(void)
{
	return genl_register_family(&packet_family);
}

void packet_genl_exit(void)
{
	genl_unregister_family(&packet_family);
}
