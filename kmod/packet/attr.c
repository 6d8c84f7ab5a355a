// SPDX-License-Identifier: GPL-2.0
/* A rule as netlink attributes: those of a request are checked, those of an answer written. */
#include <net/ipv6.h>

#include "packet.h"

#define PACKET_HOOKS	GENMASK(NF_INET_POST_ROUTING, NF_INET_PRE_ROUTING)

const struct nla_policy packet_policy[NLBUS_PACKET_A_MAX + 1] = {
	[NLBUS_PACKET_A_HANDLE] = NLA_POLICY_MIN(NLA_U32, 1),
	[NLBUS_PACKET_A_BEFORE] = NLA_POLICY_MIN(NLA_U32, 1),
	[NLBUS_PACKET_A_ACTION] = NLA_POLICY_RANGE(NLA_U8, NLBUS_PACKET_ACCEPT,
						   NLBUS_PACKET_SAMPLE),
	[NLBUS_PACKET_A_SAMPLE] = NLA_POLICY_MIN(NLA_U32, 1),
	[NLBUS_PACKET_A_HOOKS] = NLA_POLICY_MASK(NLA_U32, PACKET_HOOKS),
	[NLBUS_PACKET_A_FAMILY] = { .type = NLA_U8 },
	[NLBUS_PACKET_A_PROTOCOL] = { .type = NLA_U8 },
	[NLBUS_PACKET_A_SRC] = NLA_POLICY_EXACT_LEN(16),
	[NLBUS_PACKET_A_SRC_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[NLBUS_PACKET_A_DST] = NLA_POLICY_EXACT_LEN(16),
	[NLBUS_PACKET_A_DST_LEN] = NLA_POLICY_MAX(NLA_U8, 128),
	[NLBUS_PACKET_A_SPORT] = { .type = NLA_U16 },
	[NLBUS_PACKET_A_SPORT_LAST] = { .type = NLA_U16 },
	[NLBUS_PACKET_A_DPORT] = { .type = NLA_U16 },
	[NLBUS_PACKET_A_DPORT_LAST] = { .type = NLA_U16 },
	[NLBUS_PACKET_A_IIF] = { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[NLBUS_PACKET_A_OIF] = { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[NLBUS_PACKET_A_PACKETS] = { .type = NLA_REJECT },
	[NLBUS_PACKET_A_BYTES] = { .type = NLA_REJECT },
	[NLBUS_PACKET_A_EVENTS] = { .type = NLA_REJECT },
};

static int packet_get_action(struct packet_rule *rule, struct genl_info *info)
{
	struct nlattr *action = info->attrs[NLBUS_PACKET_A_ACTION];
	struct nlattr *sample = info->attrs[NLBUS_PACKET_A_SAMPLE];

	if (!action)
		return packet_refuse(info, NULL, "a rule needs an action");
	rule->action = nla_get_u8(action);
	if (sample && rule->action != NLBUS_PACKET_SAMPLE)
		return packet_refuse(info, sample, "a sampling rate needs the action sample");
	if (!sample && rule->action == NLBUS_PACKET_SAMPLE)
		return packet_refuse(info, action, "the action sample needs a sampling rate");
	rule->sample = sample ? nla_get_u32(sample) : 1;
	return 0;
}

static int packet_get_prefix(struct in6_addr *address, u8 *length, struct genl_info *info,
			     int address_attr, int length_attr)
{
	struct nlattr *where = info->attrs[address_attr];
	struct nlattr *bits = info->attrs[length_attr];
	struct in6_addr prefix;

	if (!where)
		return bits ? packet_refuse(info, bits, "a prefix length without an address") : 0;
	*address = nla_get_in6_addr(where);
	*length = bits ? nla_get_u8(bits) : 128;
	ipv6_addr_prefix(&prefix, address, *length);
	if (!ipv6_addr_equal(&prefix, address))
		return packet_refuse(info, where, "the address has bits beyond its prefix");
	return 0;
}

static int packet_get_ports(struct packet_ports *ports, struct genl_info *info, int first_attr,
			    int last_attr)
{
	struct nlattr *first = info->attrs[first_attr];
	struct nlattr *last = info->attrs[last_attr];

	if (!first && last)
		return packet_refuse(info, last, "the last port of a range without its first");
	if (!first)
		return 0;
	ports->set = true;
	ports->first = nla_get_u16(first);
	ports->last = last ? nla_get_u16(last) : ports->first;
	if (ports->last < ports->first)
		return packet_refuse(info, last, "the last port of a range is below its first");
	return 0;
}

static int packet_get_device(char *name, struct genl_info *info, int attr)
{
	if (!info->attrs[attr])
		return 0;
	nla_strscpy(name, info->attrs[attr], IFNAMSIZ);
	if (dev_valid_name(name))
		return 0;
	return packet_refuse(info, info->attrs[attr], "no interface can have this name");
}

static bool packet_has_ports(u8 protocol)
{
	switch (protocol) {
	case IPPROTO_TCP:
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
	case IPPROTO_SCTP:
	case IPPROTO_DCCP:
		return true;
	}
	return false;
}

static int packet_get_protocol(struct packet_rule *rule, struct genl_info *info)
{
	struct nlattr *family = info->attrs[NLBUS_PACKET_A_FAMILY];
	struct nlattr *protocol = info->attrs[NLBUS_PACKET_A_PROTOCOL];

	rule->family = family ? nla_get_u8(family) : 0;
	if (family && rule->family != AF_INET && rule->family != AF_INET6)
		return packet_refuse(info, family, "the family is AF_INET or AF_INET6");
	if (!protocol)
		return 0;
	rule->protocol_set = true;
	rule->protocol = nla_get_u8(protocol);
	if ((rule->sport.set || rule->dport.set) && !packet_has_ports(rule->protocol))
		return packet_refuse(info, protocol, "this protocol has no ports");
	return 0;
}

static int packet_get_hooks(struct packet_rule *rule, struct genl_info *info)
{
	struct nlattr *hooks = info->attrs[NLBUS_PACKET_A_HOOKS];

	rule->hooks = hooks ? nla_get_u32(hooks) : PACKET_HOOKS;
	if (rule->hooks)
		return 0;
	return packet_refuse(info, hooks, "a rule needs a hook");
}

/**
 * packet_get_rule() - fill a rule from the attributes of a request
 * @rule: a new rule
 * @info: the request, already checked against packet_policy
 *
 * Return: 0, or an error, with a message in @info->extack.
 */
int packet_get_rule(struct packet_rule *rule, struct genl_info *info)
{
	return packet_get_action(rule, info) ?:
	       packet_get_hooks(rule, info) ?:
	       packet_get_prefix(&rule->src, &rule->src_len, info,
				 NLBUS_PACKET_A_SRC, NLBUS_PACKET_A_SRC_LEN) ?:
	       packet_get_prefix(&rule->dst, &rule->dst_len, info,
				 NLBUS_PACKET_A_DST, NLBUS_PACKET_A_DST_LEN) ?:
	       packet_get_ports(&rule->sport, info, NLBUS_PACKET_A_SPORT,
				NLBUS_PACKET_A_SPORT_LAST) ?:
	       packet_get_ports(&rule->dport, info, NLBUS_PACKET_A_DPORT,
				NLBUS_PACKET_A_DPORT_LAST) ?:
	       packet_get_protocol(rule, info) ?:
	       packet_get_device(rule->iif, info, NLBUS_PACKET_A_IIF) ?:
	       packet_get_device(rule->oif, info, NLBUS_PACKET_A_OIF);
}

static int packet_put_prefix(struct sk_buff *skb, const struct in6_addr *address, u8 length,
			     int address_attr, int length_attr)
{
	if (!length)
		return 0;
	return nla_put_in6_addr(skb, address_attr, address) || nla_put_u8(skb, length_attr, length);
}

static int packet_put_ports(struct sk_buff *skb, const struct packet_ports *ports, int first_attr,
			    int last_attr)
{
	if (!ports->set)
		return 0;
	return nla_put_u16(skb, first_attr, ports->first) ||
	       nla_put_u16(skb, last_attr, ports->last);
}

static int packet_put_counters(struct sk_buff *skb, const struct packet_rule *rule)
{
	u64 packets, bytes, events;

	packet_rule_read(rule, &packets, &bytes, &events);
	return nla_put_u64_64bit(skb, NLBUS_PACKET_A_PACKETS, packets, NLBUS_PACKET_A_PAD) ||
	       nla_put_u64_64bit(skb, NLBUS_PACKET_A_BYTES, bytes, NLBUS_PACKET_A_PAD) ||
	       nla_put_u64_64bit(skb, NLBUS_PACKET_A_EVENTS, events, NLBUS_PACKET_A_PAD);
}

/**
 * packet_put_rule() - write a rule with its counters as attributes
 * @skb: destination
 * @rule: the rule
 *
 * Return: 0, or -EMSGSIZE if @skb has no room.
 */
int packet_put_rule(struct sk_buff *skb, const struct packet_rule *rule)
{
	if (nla_put_u32(skb, NLBUS_PACKET_A_HANDLE, rule->handle) ||
	    nla_put_u8(skb, NLBUS_PACKET_A_ACTION, rule->action) ||
	    nla_put_u32(skb, NLBUS_PACKET_A_HOOKS, rule->hooks) ||
	    (rule->action == NLBUS_PACKET_SAMPLE &&
	     nla_put_u32(skb, NLBUS_PACKET_A_SAMPLE, rule->sample)) ||
	    (rule->family && nla_put_u8(skb, NLBUS_PACKET_A_FAMILY, rule->family)) ||
	    (rule->protocol_set && nla_put_u8(skb, NLBUS_PACKET_A_PROTOCOL, rule->protocol)) ||
	    packet_put_prefix(skb, &rule->src, rule->src_len, NLBUS_PACKET_A_SRC,
			      NLBUS_PACKET_A_SRC_LEN) ||
	    packet_put_prefix(skb, &rule->dst, rule->dst_len, NLBUS_PACKET_A_DST,
			      NLBUS_PACKET_A_DST_LEN) ||
	    packet_put_ports(skb, &rule->sport, NLBUS_PACKET_A_SPORT, NLBUS_PACKET_A_SPORT_LAST) ||
	    packet_put_ports(skb, &rule->dport, NLBUS_PACKET_A_DPORT, NLBUS_PACKET_A_DPORT_LAST) ||
	    (rule->iif[0] && nla_put_string(skb, NLBUS_PACKET_A_IIF, rule->iif)) ||
	    (rule->oif[0] && nla_put_string(skb, NLBUS_PACKET_A_OIF, rule->oif)) ||
	    packet_put_counters(skb, rule))
		return -EMSGSIZE;
	return 0;
}
