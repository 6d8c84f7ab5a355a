/* SPDX-License-Identifier: MIT */
/*
 * Columns by hand: what a careful C program writes that stores the columns of five kinds of message. No table
 * drives it; each kind is a switch over the attributes that such messages have, checked as the kernel's macros
 * do. A batch's columns are one piece of memory, zeroed, as a table that owns its data needs.
 *
 * bench_columns.py compares every value with nlbus's before it measures.
 */
#include <linux/if_link.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "columns.h"

#define HEADER(type, column, member) (((type *)t->values[column])[row] = member)

static size_t route(struct table *t, uint32_t row, const uint8_t *data, size_t left)
{
	const struct rtmsg *h = (const struct rtmsg *)data;
	const struct nlattr *at = (const struct nlattr *)(data + sizeof(*h));
	size_t step;

	HEADER(uint8_t, R_FAMILY, h->rtm_family);
	HEADER(uint8_t, R_DST_LEN, h->rtm_dst_len);
	HEADER(uint8_t, R_SRC_LEN, h->rtm_src_len);
	HEADER(uint8_t, R_TOS, h->rtm_tos);
	HEADER(uint32_t, R_TABLE, h->rtm_table);
	HEADER(uint8_t, R_PROTOCOL, h->rtm_protocol);
	HEADER(uint8_t, R_SCOPE, h->rtm_scope);
	HEADER(uint8_t, R_TYPE, h->rtm_type);
	HEADER(uint32_t, R_FLAGS, h->rtm_flags);
	left -= sizeof(*h);
	EACH(at, left) {
		switch (at->nla_type & NLA_TYPE_MASK) {
		case RTA_DST: put_address(t, R_DST, row, at); break;
		case RTA_OIF: put(t, R_OIF, row, at, 4); break;
		case RTA_GATEWAY: put_address(t, R_GATEWAY, row, at); break;
		case RTA_PRIORITY: put(t, R_PRIORITY, row, at, 4); break;
		case RTA_PREFSRC: put_address(t, R_PREFSRC, row, at); break;
		case RTA_TABLE:
			if (LENGTH(at) >= 4)
				memcpy(t->values[R_TABLE] + 4 * (size_t)row, INSIDE(at), 4);
			break;
		}
	}
	return left;
}

static void inet6(struct table *t, uint32_t row, const struct nlattr *outer)
{
	const struct nlattr *at = (const struct nlattr *)INSIDE(outer);
	size_t left = LENGTH(outer), step;

	EACH(at, left) {
		switch (at->nla_type & NLA_TYPE_MASK) {
		case IFLA_INET6_FLAGS: put(t, L_INET6_FLAGS, row, at, 4); break;
		case IFLA_INET6_CONF: put_bytes(t, L_INET6_CONF, row, INSIDE(at), LENGTH(at) & ~3UL); break;
		case IFLA_INET6_TOKEN: put(t, L_TOKEN, row, at, 16); break;
		case IFLA_INET6_ADDR_GEN_MODE: put(t, L_GENMODE, row, at, 1); break;
		case IFLA_INET6_CACHEINFO:
			for (int i = 0; LENGTH(at) >= 16 && i < 4; i++) {
				memcpy(t->values[L_REASM + i] + 4 * (size_t)row, INSIDE(at) + 4 * i, 4);
				t->valid[L_REASM + i][row] = 1;
			}
		}
	}
}

static void af_spec(struct table *t, uint32_t row, const struct nlattr *outer)
{
	const struct nlattr *at = (const struct nlattr *)INSIDE(outer);
	size_t left = LENGTH(outer), step;

	EACH(at, left) {
		const struct nlattr *in = (const struct nlattr *)INSIDE(at);

		if ((at->nla_type & NLA_TYPE_MASK) == AF_INET6)
			inet6(t, row, at);
		else if ((at->nla_type & NLA_TYPE_MASK) == AF_INET && LENGTH(at) >= 4 && in->nla_len <= LENGTH(at) &&
			 in->nla_len >= 4 && in->nla_type == IFLA_INET_CONF)
			put_bytes(t, L_INET, row, INSIDE(in), LENGTH(in) & ~3UL);
	}
}

static void xdp(struct table *t, uint32_t row, const struct nlattr *outer)
{
	const struct nlattr *at = (const struct nlattr *)INSIDE(outer);
	size_t left = LENGTH(outer), step;

	EACH(at, left)
		if ((at->nla_type & NLA_TYPE_MASK) == IFLA_XDP_ATTACHED)
			put(t, L_XDP, row, at, 1);
}

static size_t link(struct table *t, uint32_t row, const uint8_t *data, size_t left)
{
	const struct ifinfomsg *h = (const struct ifinfomsg *)data;
	const struct nlattr *at = (const struct nlattr *)(data + sizeof(*h));
	static const int texts[] = { L_ADDRESS, L_BROADCAST, L_IFNAME, L_QDISC, L_INET, L_INET6_CONF };
	size_t step;

	for (int i = 0; i < 6; i++)
		t->offsets[texts[i]][row + 1] = t->offsets[texts[i]][row];
	HEADER(uint16_t, L_TYPE, h->ifi_type);
	HEADER(int32_t, L_IFINDEX, h->ifi_index);
	HEADER(uint32_t, L_FLAGS, h->ifi_flags);
	HEADER(uint32_t, L_CHANGE, h->ifi_change);
	left -= sizeof(*h);
	EACH(at, left) {
		switch (at->nla_type & NLA_TYPE_MASK) {
		case IFLA_ADDRESS: put_bytes(t, L_ADDRESS, row, INSIDE(at), LENGTH(at)); break;
		case IFLA_BROADCAST: put_bytes(t, L_BROADCAST, row, INSIDE(at), LENGTH(at)); break;
		case IFLA_IFNAME: put_text(t, L_IFNAME, row, at); break;
		case IFLA_QDISC: put_text(t, L_QDISC, row, at); break;
		case IFLA_MTU: put(t, L_MTU, row, at, 4); break;
		case IFLA_TXQLEN: put(t, L_TXQLEN, row, at, 4); break;
		case IFLA_OPERSTATE: put(t, L_OPERSTATE, row, at, 1); break;
		case IFLA_LINKMODE: put(t, L_LINKMODE, row, at, 1); break;
		case IFLA_STATS64:
			for (size_t i = 0; LENGTH(at) >= 23 * 8 && i < 25 && 8 * i + 8 <= LENGTH(at); i++) {
				memcpy(t->values[L_rx_packets + i] + 8 * (size_t)row, INSIDE(at) + 8 * i, 8);
				t->valid[L_rx_packets + i][row] = 1;
			}
			break;
		case IFLA_AF_SPEC: af_spec(t, row, at); break;
		case IFLA_XDP: xdp(t, row, at); break;
		case IFLA_GROUP: put(t, L_GROUP, row, at, 4); break;
		case IFLA_PROMISCUITY: put(t, L_PROMISCUITY, row, at, 4); break;
		case IFLA_NUM_TX_QUEUES: put(t, L_TXQ, row, at, 4); break;
		case IFLA_NUM_RX_QUEUES: put(t, L_RXQ, row, at, 4); break;
		case IFLA_CARRIER: put(t, L_CARRIER, row, at, 1); break;
		case IFLA_CARRIER_CHANGES: put(t, L_CARRIERS, row, at, 4); break;
		case IFLA_PROTO_DOWN: put(t, L_PROTO_DOWN, row, at, 1); break;
		case IFLA_GSO_MAX_SEGS: put(t, L_GSO_SEGS, row, at, 4); break;
		case IFLA_GSO_MAX_SIZE: put(t, L_GSO_SIZE, row, at, 4); break;
		case 47: put(t, L_UPS, row, at, 4); break; /* newer than some headers: by number */
		case 48: put(t, L_DOWNS, row, at, 4); break;
		case 50: put(t, L_MIN_MTU, row, at, 4); break;
		case 51: put(t, L_MAX_MTU, row, at, 4); break;
		case 58: put(t, L_GRO_SIZE, row, at, 4); break;
		case 59: put(t, L_TSO_SIZE, row, at, 4); break;
		case 60: put(t, L_TSO_SEGS, row, at, 4); break;
		case 61: put(t, L_ALLMULTI, row, at, 4); break;
		case 63: put(t, L_GSO4, row, at, 4); break;
		case 64: put(t, L_GRO4, row, at, 4); break;
		case 66: /* of 4 or 8 bytes */
			if (LENGTH(at) == 4 || LENGTH(at) == 8) {
				memcpy(t->values[L_PACING] + 8 * (size_t)row, INSIDE(at), LENGTH(at));
				t->valid[L_PACING][row] = 1;
			}
			break;
		case 67: put(t, L_IMMUTABLE, row, at, 1); break;
		case 68: put(t, L_HEADROOM, row, at, 2); break;
		case 69: put(t, L_TAILROOM, row, at, 2); break;
		}
	}
	return left;
}

/* One direction; `first` is its column of the source, the others follow. */
static void tuple(struct table *t, int first, uint32_t row, const struct nlattr *outer)
{
	const struct nlattr *at = (const struct nlattr *)INSIDE(outer);
	size_t left = LENGTH(outer), step;

	EACH(at, left) {
		/* CTA_TUPLE_IP 1, CTA_TUPLE_PROTO 2 */
		int proto = (at->nla_type & NLA_TYPE_MASK) == CTA_TUPLE_PROTO;
		const struct nlattr *in = (const struct nlattr *)INSIDE(at);
		size_t rest = LENGTH(at);

		if ((at->nla_type & NLA_TYPE_MASK) > CTA_TUPLE_PROTO)
			continue;
		EACH(in, rest) {
			switch ((in->nla_type & NLA_TYPE_MASK) + 16 * proto) {
			case CTA_IP_V4_SRC: case CTA_IP_V6_SRC: put_address(t, first, row, in); break;
			case CTA_IP_V4_DST: case CTA_IP_V6_DST: put_address(t, first + 1, row, in); break;
			case 16 + CTA_PROTO_NUM: put(t, first + 2, row, in, 1); break;
			case 16 + CTA_PROTO_SRC_PORT: put_be16(t, first + 3, row, in); break;
			case 16 + CTA_PROTO_DST_PORT: put_be16(t, first + 4, row, in); break;
			}
		}
	}
}

static void tcp(struct table *t, uint32_t row, const struct nlattr *outer)
{
	const struct nlattr *at = (const struct nlattr *)INSIDE(outer);
	size_t left = LENGTH(outer), step;

	EACH(at, left) {
		switch (at->nla_type & NLA_TYPE_MASK) {
		case CTA_PROTOINFO_TCP_STATE: put(t, C_STATE, row, at, 1); break;
		case CTA_PROTOINFO_TCP_WSCALE_ORIGINAL: put(t, C_WSCALE, row, at, 1); break;
		case CTA_PROTOINFO_TCP_WSCALE_REPLY: put(t, C_WSCALE_REPLY, row, at, 1); break;
		case CTA_PROTOINFO_TCP_FLAGS_ORIGINAL: put(t, C_FLAGS, row, at, 1); break;
		case CTA_PROTOINFO_TCP_FLAGS_REPLY: put(t, C_FLAGS_REPLY, row, at, 1); break;
		}
	}
}

static size_t conntrack(struct table *t, uint32_t row, const uint8_t *data, size_t left)
{
	const struct nlattr *at = (const struct nlattr *)(data + 4), *in;
	size_t step;

	HEADER(uint8_t, C_FAMILY, data[0]);
	left -= 4;
	EACH(at, left) {
		switch (at->nla_type & NLA_TYPE_MASK) {
		case CTA_TUPLE_ORIG: tuple(t, C_ORIG_SRC, row, at); break;
		case CTA_TUPLE_REPLY: tuple(t, C_REPLY_SRC, row, at); break;
		case CTA_STATUS: put_be32(t, C_STATUS, row, at); break;
		case CTA_TIMEOUT: put_be32(t, C_TIMEOUT, row, at); break;
		case CTA_ID: put_be32(t, C_ID, row, at); break;
		case CTA_PROTOINFO:
			in = (const struct nlattr *)INSIDE(at);
			if (LENGTH(at) >= 4 && in->nla_len >= 4 && in->nla_len <= LENGTH(at) &&
			    (in->nla_type & NLA_TYPE_MASK) == CTA_PROTOINFO_TCP)
				tcp(t, row, in);
		}
	}
	return left;
}

/* struct cn_msg has 20 bytes; then what, cpu, timestamp_ns and four pids. */
static size_t forked(struct table *t, uint32_t row, const uint8_t *data, size_t left)
{
	memcpy(t->values[F_SEQ] + 4 * (size_t)row, data + 8, 4);
	memcpy(t->values[F_CPU] + 4 * (size_t)row, data + 24, 4);
	memcpy(t->values[F_TIME] + 8 * (size_t)row, data + 28, 8);
	for (int i = 0; i < 4; i++)
		memcpy(t->values[F_PARENT + i] + 4 * (size_t)row, data + 36 + 4 * i, 4);
	return 0;
}

#define SET(column, type, value) (((type *)t->values[column])[row] = (value), t->valid[column][row] = 1)

static inline uint32_t big(const uint8_t *at, int size)
{
	return size == 2 ? at[0] << 8 | at[1] : (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* TCP over IPv4, if all of it was copied that is a column. */
static void packet(struct table *t, uint32_t row, const uint8_t *ip, size_t length)
{
	size_t own = (ip[0] & 15) * 4, total, data;
	const uint8_t *tcp = ip + own;

	if (length < 20 || ip[0] >> 4 != 4 || own < 20 || length < own + 20)
		return;
	total = big(ip + 2, 2);
	SET(P_VERSION, uint8_t, 4);
	SET(P_TOS, uint8_t, ip[1]);
	SET(P_LENGTH, uint32_t, total);
	SET(P_ID, uint32_t, big(ip + 4, 2));
	SET(P_IP_FLAGS, uint8_t, ip[6] >> 5);
	SET(P_TTL, uint8_t, ip[8]);
	SET(P_PROTOCOL, uint8_t, ip[9]);
	for (int i = 0; i < 2; i++) {
		uint8_t *to = t->values[P_SRC + i] + 16 * (size_t)row;

		memset(to + 10, 0xff, 2);
		memcpy(to + 12, ip + 12 + 4 * i, 4);
		t->valid[P_SRC + i][row] = 1;
	}
	if (ip[9] != 6 || (big(ip + 6, 2) & 0x1fff) || total < own + 20)
		return;
	SET(P_SPORT, uint16_t, big(tcp, 2));
	SET(P_DPORT, uint16_t, big(tcp + 2, 2));
	SET(P_TCP_SEQ, uint32_t, big(tcp + 4, 4));
	SET(P_TCP_ACK, uint32_t, big(tcp + 8, 4));
	SET(P_FLAGS, uint16_t, big(tcp + 12, 2) & 0x1ff);
	SET(P_WINDOW, uint16_t, big(tcp + 14, 2));
	data = (tcp[12] >> 4) * 4;
	if (data >= 20 && own + data <= length && own + data <= total)
		SET(P_DATA, uint16_t, own + data);
}

static size_t logged(struct table *t, uint32_t row, const uint8_t *data, size_t left)
{
	const struct nlattr *at = (const struct nlattr *)(data + 4);
	static const int texts[] = { P_PREFIX, P_HWADDR, P_PAYLOAD, P_HWHEADER };
	size_t step;

	for (int i = 0; i < 4; i++)
		t->offsets[texts[i]][row + 1] = t->offsets[texts[i]][row];
	HEADER(uint8_t, P_FAMILY, data[0]);
	HEADER(uint16_t, P_GROUP, big(data + 2, 2));
	left -= 4;
	EACH(at, left) {
		const uint8_t *in = INSIDE(at);

		switch (at->nla_type & NLA_TYPE_MASK) {
		case NFULA_PACKET_HDR:
			if (LENGTH(at) >= 3) {
				SET(P_ETHERTYPE, uint16_t, big(in, 2));
				SET(P_HOOK, uint8_t, in[2]);
			}
			break;
		case NFULA_PREFIX:
			if (LENGTH(at) && in[0])
				put_text(t, P_PREFIX, row, at);
			break;
		case NFULA_IFINDEX_INDEV: put_be32(t, P_INDEV, row, at); break;
		case NFULA_TIMESTAMP:
			if (LENGTH(at) >= 16)
				SET(P_TIMESTAMP, uint64_t,
				    ((uint64_t)big(in, 4) << 32 | big(in + 4, 4)) * 1000000000 +
					    ((uint64_t)big(in + 8, 4) << 32 | big(in + 12, 4)) * 1000);
			break;
		case NFULA_HWADDR:
			if (LENGTH(at) >= 4 && big(in, 2) <= LENGTH(at) - 4)
				put_bytes(t, P_HWADDR, row, in + 4, big(in, 2));
			break;
		case NFULA_PAYLOAD:
			put_bytes(t, P_PAYLOAD, row, in, LENGTH(at));
			if (t->valid[P_ETHERTYPE][row] && ((uint16_t *)t->values[P_ETHERTYPE])[row] == 0x0800)
				packet(t, row, in, LENGTH(at));
			break;
		case NFULA_SEQ: put_be32(t, P_SEQ, row, at); break;
		case NFULA_HWTYPE: put_be16(t, P_HWTYPE, row, at); break;
		case NFULA_HWHEADER: put_bytes(t, P_HWHEADER, row, in, LENGTH(at)); break;
		case NFULA_HWLEN: put_be16(t, P_HWLEN, row, at); break;
		}
	}
	return left;
}

/* -- kinds of message ---------------------------------------------------------------------------- */

/* What has happened: 0 new, 1 change, 2 del; -1: it is of another kind. */
static int happened(int kind, const struct message *m, const uint8_t *data)
{
	uint32_t what;

	switch (kind) {
	case 0:
		if ((m->type != RTM_NEWROUTE && m->type != RTM_DELROUTE) || m->length < sizeof(struct rtmsg))
			return -1;
		return m->type == RTM_DELROUTE ? 2 : m->flags & NLM_F_REPLACE ? 1 : 0;
	case 1:
		if ((m->type != RTM_NEWLINK && m->type != RTM_DELLINK) || m->length < sizeof(struct ifinfomsg) ||
		    data[0] != AF_UNSPEC)
			return -1;
		return m->type == RTM_DELLINK ? 2 : m->flags & NLM_F_REPLACE ? 1 : 0;
	case 2:
		if ((m->type & 0xff00) != NFNL_SUBSYS_CTNETLINK << 8 || m->length < 4)
			return -1;
		return (m->type & 0xff) == IPCTNL_MSG_CT_DELETE ? 2 : !(m->flags & (NLM_F_CREATE | NLM_F_MULTI));
	case 4:
		return m->type == (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET) && m->length >= 4 ? 0 : -1;
	default:
		if (m->type != NLMSG_DONE || m->length < 52)
			return -1;
		memcpy(&what, data + 20, 4);
		return what == 1 ? 0 : -1; /* PROC_EVENT_FORK */
	}
}

/* The table of the messages of one kind: 0 routes, 1 links, 2 connections, 3 forks, 4 packets. */
struct table *columns_of(int kind, const uint8_t *base, const struct message *m, size_t count)
{
	static const struct column *const columns[] = {
		route_columns, link_columns, conntrack_columns, fork_columns, packet_columns,
	};
	static const uint32_t counts[] = { ROUTES, LINKS, CONNECTIONS, FORKS, LOGGED };
	uint32_t rows = 0, row = 0;
	struct table *t;

	for (size_t i = 0; i < count; i++)
		rows += happened(kind, &m[i], base + m[i].offset) >= 0;
	t = table_new(columns[kind], counts[kind], rows);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *data = base + m[i].offset;
		int op = happened(kind, &m[i], data);
		size_t left;

		if (op < 0)
			continue;
		t->nl_row[row] = i;
		t->nl_op[row] = op;
		t->nl_group[row] = m[i].group;
		t->nl_nsid[row] = m[i].nsid;
		left = kind == 0 ? route(t, row, data, m[i].length)
		     : kind == 1 ? link(t, row, data, m[i].length)
		     : kind == 2 ? conntrack(t, row, data, m[i].length)
		     : kind == 3 ? forked(t, row, data, m[i].length)
				 : logged(t, row, data, m[i].length);
		if (left)
			t->damaged[row] = 1;
		row++;
	}
	return t;
}

void columns_free(struct table *t)
{
	table_free(t);
}

/* So many times the same, each table thrown away. The rows of one. */
uint32_t columns_run(int kind, const uint8_t *base, const struct message *m, size_t count, int times)
{
	uint32_t rows = 0;

	while (times-- > 0) {
		struct table *t = columns_of(kind, base, m, count);

		rows = t->rows;
		table_free(t);
	}
	return rows;
}
