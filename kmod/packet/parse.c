// SPDX-License-Identifier: GPL-2.0
/*
 * Turn a packet into a record. Only skb_header_pointer() reads the packet, which never exceeds it;
 * missing headers are marked as truncated.
 */
#include <linux/icmp.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <net/dsfield.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/netfilter/nf_conntrack.h>

#include "packet.h"

/* Extension headers to walk: an attacker could put thousands into one packet. */
#define PACKET_MAX_EXTENSIONS	16

/* Mark a packet whose headers are missing. Returns -1, for lack of an offset. */
static int packet_truncated(struct nlbus_packet *packet)
{
	packet->flags |= NLBUS_PACKET_F_TRUNCATED;
	return -1;
}

/* Returns the offset of the transport header; -1 if there is none. */
static int packet_parse_ipv4(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	const struct iphdr *ip;
	struct iphdr copy;
	u16 fragment;

	ip = skb_header_pointer(skb, at, sizeof(copy), &copy);
	if (!ip)
		return packet_truncated(packet);
	ipv6_addr_set_v4mapped(ip->saddr, (struct in6_addr *)packet->src);
	ipv6_addr_set_v4mapped(ip->daddr, (struct in6_addr *)packet->dst);
	packet->protocol = ip->protocol;
	packet->ttl = ip->ttl;
	packet->tos = ip->tos;
	packet->id = ntohs(ip->id);
	packet->flags |= NLBUS_PACKET_F_ID;
	fragment = ntohs(ip->frag_off);
	if (fragment & (IP_MF | IP_OFFSET)) {
		packet->flags |= NLBUS_PACKET_F_FRAGMENT;
		if (fragment & IP_MF)
			packet->flags |= NLBUS_PACKET_F_MORE;
		packet->frag_offset = (fragment & IP_OFFSET) * 8;
	}
	/* Raw sockets may send any header length. */
	if (ip->ihl * 4 < sizeof(copy) || ip->ihl * 4 > packet->length)
		return packet_truncated(packet);
	at += ip->ihl * 4;
	packet->payload = packet->length - ip->ihl * 4;
	return packet->frag_offset ? -1 : at;
}

static bool packet_is_extension(u8 protocol)
{
	switch (protocol) {
	case NEXTHDR_HOP:
	case NEXTHDR_ROUTING:
	case NEXTHDR_FRAGMENT:
	case NEXTHDR_AUTH:
	case NEXTHDR_DEST:
	case NEXTHDR_MOBILITY:
		return true;
	}
	return false;
}

/* Returns the length of an extension header; -1 if it is truncated. */
static int packet_parse_extension(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	const struct ipv6_opt_hdr *option;
	struct ipv6_opt_hdr option_copy;
	const struct frag_hdr *fragment;
	struct frag_hdr fragment_copy;
	u8 protocol = packet->protocol;
	u16 offset;

	if (protocol == NEXTHDR_FRAGMENT) {
		fragment = skb_header_pointer(skb, at, sizeof(fragment_copy), &fragment_copy);
		if (!fragment)
			return -1;
		offset = ntohs(fragment->frag_off);
		packet->protocol = fragment->nexthdr;
		packet->id = ntohl(fragment->identification);
		packet->flags |= NLBUS_PACKET_F_ID | NLBUS_PACKET_F_FRAGMENT;
		if (offset & IP6_MF)
			packet->flags |= NLBUS_PACKET_F_MORE;
		packet->frag_offset = offset & IP6_OFFSET;
		return sizeof(fragment_copy);
	}
	option = skb_header_pointer(skb, at, sizeof(option_copy), &option_copy);
	if (!option)
		return -1;
	packet->protocol = option->nexthdr;
	return protocol == NEXTHDR_AUTH ? ipv6_authlen(option) : ipv6_optlen(option);
}

static int packet_parse_ipv6(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	const struct ipv6hdr *ip;
	int start = at, size, i;
	struct ipv6hdr copy;

	ip = skb_header_pointer(skb, at, sizeof(copy), &copy);
	if (!ip)
		return packet_truncated(packet);
	memcpy(packet->src, &ip->saddr, sizeof(packet->src));
	memcpy(packet->dst, &ip->daddr, sizeof(packet->dst));
	packet->protocol = ip->nexthdr;
	packet->ttl = ip->hop_limit;
	packet->tos = ipv6_get_dsfield(ip);
	at += sizeof(copy);
	for (i = 0; packet_is_extension(packet->protocol); i++) {
		/* In later fragments, data follows the fragment header. */
		if (packet->frag_offset)
			break;
		size = -1;
		if (i < PACKET_MAX_EXTENSIONS)
			size = packet_parse_extension(packet, skb, at);
		if (size < 0 || size > start + packet->length - at)
			return packet_truncated(packet);
		at += size;
	}
	packet->payload = start + packet->length - at;
	return packet->frag_offset ? -1 : at;
}

/* Returns the length of the header; 0 if it is truncated. */
static u32 packet_parse_tcp(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	const struct tcphdr *tcp;
	struct tcphdr copy;

	tcp = skb_header_pointer(skb, at, sizeof(copy), &copy);
	if (!tcp || tcp->doff * 4 < sizeof(copy))
		return 0;
	packet->seq = ntohl(tcp->seq);
	packet->ack = ntohl(tcp->ack_seq);
	packet->window = ntohs(tcp->window);
	packet->tcp_flags = be32_to_cpu(tcp_flag_word(tcp)) >> 16 & 0xfff;
	packet->flags |= NLBUS_PACKET_F_TCP;
	return tcp->doff * 4;
}

static bool packet_parse_ports(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	const __be16 *ports;
	__be16 copy[2];

	ports = skb_header_pointer(skb, at, sizeof(copy), copy);
	if (!ports)
		return false;
	packet->sport = ntohs(ports[0]);
	packet->dport = ntohs(ports[1]);
	packet->flags |= NLBUS_PACKET_F_PORTS;
	return true;
}

static bool packet_parse_icmp(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	const u8 *icmp;
	u8 copy[2];

	icmp = skb_header_pointer(skb, at, sizeof(copy), copy);
	if (!icmp)
		return false;
	packet->icmp_type = icmp[0];
	packet->icmp_code = icmp[1];
	packet->flags |= NLBUS_PACKET_F_ICMP;
	return true;
}

static void packet_parse_transport(struct nlbus_packet *packet, const struct sk_buff *skb, int at)
{
	u32 size = 0;

	switch (packet->protocol) {
	case IPPROTO_TCP:
		if (packet_parse_ports(packet, skb, at))
			size = packet_parse_tcp(packet, skb, at);
		break;
	case IPPROTO_UDP:
	case IPPROTO_UDPLITE:
		if (packet_parse_ports(packet, skb, at))
			size = sizeof(struct udphdr);
		break;
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
		if (!packet_parse_ports(packet, skb, at))
			packet_truncated(packet);
		return; /* chunks count as payload */
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		if (packet_parse_icmp(packet, skb, at))
			size = sizeof(struct icmphdr);
		break;
	default:
		return;
	}
	if (!size || size > packet->payload) {
		packet_truncated(packet);
		size = 0;
	}
	packet->payload -= size;
}

static u8 packet_ct_state(struct nlbus_packet *packet, const struct sk_buff *skb)
{
	enum ip_conntrack_info info;
	struct nf_conn *ct = nf_ct_get(skb, &info);

	if (info == IP_CT_UNTRACKED)
		return NLBUS_PACKET_CT_UNTRACKED;
	if (!ct)
		return NLBUS_PACKET_CT_NONE;
	if (info >= IP_CT_IS_REPLY)
		packet->flags |= NLBUS_PACKET_F_REPLY;
	switch (info) {
	case IP_CT_NEW:
		return NLBUS_PACKET_CT_NEW;
	case IP_CT_ESTABLISHED:
	case IP_CT_ESTABLISHED_REPLY:
		return NLBUS_PACKET_CT_ESTABLISHED;
	case IP_CT_RELATED:
	case IP_CT_RELATED_REPLY:
		return NLBUS_PACKET_CT_RELATED;
	default:
		return NLBUS_PACKET_CT_NONE;
	}
}

/**
 * packet_parse() - fill a record from a packet, leaving verdict and rule 0
 * @packet: the record
 * @skb: the packet
 * @state: the hook
 */
void packet_parse(struct nlbus_packet *packet, const struct sk_buff *skb,
		  const struct nf_hook_state *state)
{
	int at = skb_network_offset(skb);

	memset(packet, 0, sizeof(*packet)); /* user space sees every byte */
	packet->time_ns = ktime_get_real_ns();
	packet->hook = state->hook;
	packet->length = skb->len - at;
	packet->mark = skb->mark;
	packet->iif = state->in ? state->in->ifindex : 0;
	packet->oif = state->out ? state->out->ifindex : 0;
	packet->ct_state = packet_ct_state(packet, skb);
	if (state->pf == NFPROTO_IPV4) {
		packet->family = AF_INET;
		at = packet_parse_ipv4(packet, skb, at);
	} else {
		packet->family = AF_INET6;
		at = packet_parse_ipv6(packet, skb, at);
	}
	if (at >= 0)
		packet_parse_transport(packet, skb, at);
}
