/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * nlbus_packet: IP packets as events of the bus, and a small filter.
 *
 * Events arrive on nlbus.ko's protocol, in batches as defined by nlbus.h, of
 * type NLBUS_PACKET_TYPE, each a struct nlbus_packet. A packet is published at
 * each hook it passes, to the group of that hook and, if a rule drops it, to
 * NLBUS_PACKET_GROUP_DROP as well. The hooks run after connection tracking and
 * before NAT and the filters of nftables. Fragments that connection tracking
 * reassembles arrive as one packet.
 *
 * The generic netlink family NLBUS_PACKET_FAMILY manages rules, one ordered
 * list per network namespace: the first match decides. A packet without a
 * match is accepted and published. All commands need CAP_NET_ADMIN over the
 * namespace.
 */
#ifndef _UAPI_NLBUS_PACKET_H
#define _UAPI_NLBUS_PACKET_H

#include <linux/types.h>

#define NLBUS_PACKET_TYPE		0x7061636bU
#define NLBUS_PACKET_FINGERPRINT	0xc72c3ecb00d637faULL

/* Groups of the bus: the last six. Group 28 + n is hook n (NF_INET_*). */
#define NLBUS_PACKET_GROUP_DROP		27
#define NLBUS_PACKET_GROUP_PRE_ROUTING	28
#define NLBUS_PACKET_GROUP_LOCAL_IN	29
#define NLBUS_PACKET_GROUP_FORWARD	30
#define NLBUS_PACKET_GROUP_LOCAL_OUT	31
#define NLBUS_PACKET_GROUP_POST_ROUTING	32

/* Which fields of struct nlbus_packet are valid, and more about the packet. */
#define NLBUS_PACKET_F_PORTS		0x01	/* sport, dport */
#define NLBUS_PACKET_F_TCP		0x02	/* seq, ack, window, tcp_flags */
#define NLBUS_PACKET_F_ICMP		0x04	/* icmp_type, icmp_code */
#define NLBUS_PACKET_F_ID		0x08	/* id */
#define NLBUS_PACKET_F_FRAGMENT		0x10	/* a fragment, at frag_offset */
#define NLBUS_PACKET_F_MORE		0x20	/* more fragments follow */
#define NLBUS_PACKET_F_TRUNCATED	0x40	/* headers are truncated or malformed */
#define NLBUS_PACKET_F_REPLY		0x80	/* in the reply direction */

/* State of connection tracking; NLBUS_PACKET_F_REPLY is the direction. */
enum nlbus_packet_ct_state {
	NLBUS_PACKET_CT_NONE,		/* not tracked, or part of no connection */
	NLBUS_PACKET_CT_NEW,
	NLBUS_PACKET_CT_ESTABLISHED,
	NLBUS_PACKET_CT_RELATED,
	NLBUS_PACKET_CT_UNTRACKED,
};

/**
 * struct nlbus_packet - a packet at a hook, numbers in the host's byte order
 * @time_ns:		CLOCK_REALTIME in nanoseconds when it reached the hook
 * @src:		source address; IPv4 as ::ffff:a.b.c.d
 * @dst:		destination address
 * @length:		bytes from the IP header on; more than 65535 if segments
 *			are still merged (GSO)
 * @payload:		bytes behind the headers decoded here
 * @iif:		ifindex of the input device; 0 if the packet is local
 * @oif:		ifindex of the output device; 0 if not known yet
 * @mark:		the packet's mark
 * @rule:		handle of the rule that matched; 0: none
 * @id:			identification; IPv6 has it in fragments only
 * @seq:		TCP sequence number
 * @ack:		TCP acknowledgment number
 * @sport:		source port of TCP, UDP, UDP-Lite, SCTP, DCCP
 * @dport:		destination port
 * @window:		TCP window, unscaled
 * @tcp_flags:		the 12 bits before the window, FIN is 1
 * @frag_offset:	bytes of the datagram before this fragment
 * @flags:		NLBUS_PACKET_F_*
 * @hook:		NF_INET_*
 * @family:		AF_INET or AF_INET6
 * @protocol:		IPPROTO_*; for IPv6, after the extension headers
 * @ttl:		time to live, hop limit
 * @tos:		type of service, traffic class
 * @icmp_type:		type of ICMP or ICMPv6
 * @icmp_code:		its code
 * @ct_state:		enum nlbus_packet_ct_state
 * @verdict:		NF_ACCEPT or NF_DROP, decided by the rules
 * @reserved:		0
 */
struct nlbus_packet {
	__u64	time_ns;
	__u8	src[16];
	__u8	dst[16];
	__u32	length;
	__u32	payload;
	__u32	iif;
	__u32	oif;
	__u32	mark;
	__u32	rule;
	__u32	id;
	__u32	seq;
	__u32	ack;
	__u16	sport;
	__u16	dport;
	__u16	window;
	__u16	tcp_flags;
	__u16	frag_offset;
	__u16	flags;
	__u8	hook;
	__u8	family;
	__u8	protocol;
	__u8	ttl;
	__u8	tos;
	__u8	icmp_type;
	__u8	icmp_code;
	__u8	ct_state;
	__u8	verdict;
	__u8	reserved[7];
};

/* Rules */

#define NLBUS_PACKET_FAMILY	"nlbus_packet"
#define NLBUS_PACKET_VERSION	1
#define NLBUS_PACKET_MAX_RULES	256	/* per network namespace */

/**
 * enum nlbus_packet_cmd - commands of the family
 * @NLBUS_PACKET_CMD_UNSPEC:	none
 * @NLBUS_PACKET_CMD_ADD:	add a rule; answered by the rule with its handle
 * @NLBUS_PACKET_CMD_DEL:	delete the rule of NLBUS_PACKET_A_HANDLE
 * @NLBUS_PACKET_CMD_FLUSH:	delete all rules
 * @NLBUS_PACKET_CMD_GET:	dump all rules in order (NLM_F_DUMP)
 */
enum nlbus_packet_cmd {
	NLBUS_PACKET_CMD_UNSPEC,
	NLBUS_PACKET_CMD_ADD,
	NLBUS_PACKET_CMD_DEL,
	NLBUS_PACKET_CMD_FLUSH,
	NLBUS_PACKET_CMD_GET,
};

/**
 * enum nlbus_packet_action - what happens to a packet that a rule matches
 * @NLBUS_PACKET_UNSPEC:	none
 * @NLBUS_PACKET_ACCEPT:	accept it
 * @NLBUS_PACKET_DROP:		drop it
 * @NLBUS_PACKET_SAMPLE:	accept it, and publish one in NLBUS_PACKET_A_SAMPLE
 */
enum nlbus_packet_action {
	NLBUS_PACKET_UNSPEC,
	NLBUS_PACKET_ACCEPT,
	NLBUS_PACKET_DROP,
	NLBUS_PACKET_SAMPLE,
};

/**
 * enum nlbus_packet_attr - attributes of a rule; an absent one matches all
 * @NLBUS_PACKET_A_UNSPEC:	none
 * @NLBUS_PACKET_A_HANDLE:	u32, number of the rule, assigned by the kernel, from 1
 * @NLBUS_PACKET_A_BEFORE:	u32, ADD: insert it before the rule with this handle,
 *				not at the end
 * @NLBUS_PACKET_A_ACTION:	u8, enum nlbus_packet_action
 * @NLBUS_PACKET_A_SAMPLE:	u32, N: publish the first of every N packets
 * @NLBUS_PACKET_A_HOOKS:	u32, bit n is hook n (NF_INET_*)
 * @NLBUS_PACKET_A_FAMILY:	u8, AF_INET or AF_INET6
 * @NLBUS_PACKET_A_PROTOCOL:	u8, IPPROTO_*
 * @NLBUS_PACKET_A_SRC:		16 bytes, as in struct nlbus_packet
 * @NLBUS_PACKET_A_SRC_LEN:	u8, prefix length of all 128 bits (10.0.0.0/8 has
 *				104); 128 if absent
 * @NLBUS_PACKET_A_DST:		16 bytes
 * @NLBUS_PACKET_A_DST_LEN:	u8
 * @NLBUS_PACKET_A_SPORT:	u16, a port, or the first of a range. A rule with
 *				ports does not match packets without ports, such
 *				as later fragments
 * @NLBUS_PACKET_A_SPORT_LAST:	u16, the last of it
 * @NLBUS_PACKET_A_DPORT:	u16
 * @NLBUS_PACKET_A_DPORT_LAST:	u16
 * @NLBUS_PACKET_A_IIF:		string, name of the input device
 * @NLBUS_PACKET_A_OIF:		string, name of the output device
 * @NLBUS_PACKET_A_PACKETS:	u64, matching packets (answers only)
 * @NLBUS_PACKET_A_BYTES:	u64, their bytes (answers only)
 * @NLBUS_PACKET_A_EVENTS:	u64, events published about them (answers only)
 * @NLBUS_PACKET_A_PAD:		none
 * @__NLBUS_PACKET_A_MAX:	end of the enumeration
 */
enum nlbus_packet_attr {
	NLBUS_PACKET_A_UNSPEC,
	NLBUS_PACKET_A_HANDLE,
	NLBUS_PACKET_A_BEFORE,
	NLBUS_PACKET_A_ACTION,
	NLBUS_PACKET_A_SAMPLE,
	NLBUS_PACKET_A_HOOKS,
	NLBUS_PACKET_A_FAMILY,
	NLBUS_PACKET_A_PROTOCOL,
	NLBUS_PACKET_A_SRC,
	NLBUS_PACKET_A_SRC_LEN,
	NLBUS_PACKET_A_DST,
	NLBUS_PACKET_A_DST_LEN,
	NLBUS_PACKET_A_SPORT,
	NLBUS_PACKET_A_SPORT_LAST,
	NLBUS_PACKET_A_DPORT,
	NLBUS_PACKET_A_DPORT_LAST,
	NLBUS_PACKET_A_IIF,
	NLBUS_PACKET_A_OIF,
	NLBUS_PACKET_A_PACKETS,
	NLBUS_PACKET_A_BYTES,
	NLBUS_PACKET_A_EVENTS,
	NLBUS_PACKET_A_PAD,

	__NLBUS_PACKET_A_MAX
};

#define NLBUS_PACKET_A_MAX	(__NLBUS_PACKET_A_MAX - 1)

#endif /* _UAPI_NLBUS_PACKET_H */
