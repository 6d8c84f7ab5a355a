/* SPDX-License-Identifier: MIT */
/* The columns of columns.c, their memory, and how a value gets into one. */
#include <endian.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct message { /* a row of Batch.messages */
	int64_t offset;
	uint32_t length;
	uint16_t type, flags;
	uint32_t seq, portid, group;
	int32_t nsid;
};

enum shape { ALWAYS, MAYBE, BYTES, LIST }; /* a value always, or not; bytes; a list of values of `width` */

struct column {
	const char *name;
	uint32_t width;
	enum shape shape;
};

struct table {
	uint32_t count, rows;
	const struct column *columns;
	uint8_t *values[96], *valid[96];
	int32_t *offsets[96]; /* in bytes, also of lists */
	uint32_t *nl_row, *nl_group;
	int32_t *nl_nsid;
	uint8_t *nl_op, *damaged, *memory;
	size_t room[96]; /* of bytes and lists */
};

#define ROUTE(X) \
	X(R_FAMILY, "family", 1, ALWAYS) X(R_DST_LEN, "dst_len", 1, ALWAYS) \
	X(R_SRC_LEN, "src_len", 1, ALWAYS) X(R_TOS, "tos", 1, ALWAYS) X(R_TABLE, "table", 4, ALWAYS) \
	X(R_PROTOCOL, "protocol", 1, ALWAYS) X(R_SCOPE, "scope", 1, ALWAYS) X(R_TYPE, "type", 1, ALWAYS) \
	X(R_FLAGS, "flags", 4, ALWAYS) X(R_DST, "dst", 16, MAYBE) X(R_OIF, "oif", 4, MAYBE) \
	X(R_GATEWAY, "gateway", 16, MAYBE) X(R_PRIORITY, "priority", 4, MAYBE) \
	X(R_PREFSRC, "prefsrc", 16, MAYBE)

#define STAT(X, name) X(L_##name, "stats64_" #name, 8, MAYBE)
#define LINK(X) \
	X(L_TYPE, "type", 2, ALWAYS) X(L_IFINDEX, "ifindex", 4, ALWAYS) X(L_FLAGS, "flags", 4, ALWAYS) \
	X(L_CHANGE, "change", 4, ALWAYS) X(L_ADDRESS, "address", 0, BYTES) \
	X(L_BROADCAST, "broadcast", 0, BYTES) X(L_IFNAME, "ifname", 0, BYTES) X(L_MTU, "mtu", 4, MAYBE) \
	X(L_QDISC, "qdisc", 0, BYTES) X(L_TXQLEN, "txqlen", 4, MAYBE) X(L_OPERSTATE, "operstate", 1, MAYBE) \
	X(L_LINKMODE, "linkmode", 1, MAYBE) STAT(X, rx_packets) STAT(X, tx_packets) STAT(X, rx_bytes) \
	STAT(X, tx_bytes) STAT(X, rx_errors) STAT(X, tx_errors) STAT(X, rx_dropped) STAT(X, tx_dropped) \
	STAT(X, multicast) STAT(X, collisions) STAT(X, rx_length_errors) STAT(X, rx_over_errors) \
	STAT(X, rx_crc_errors) STAT(X, rx_frame_errors) STAT(X, rx_fifo_errors) STAT(X, rx_missed_errors) \
	STAT(X, tx_aborted_errors) STAT(X, tx_carrier_errors) STAT(X, tx_fifo_errors) \
	STAT(X, tx_heartbeat_errors) STAT(X, tx_window_errors) STAT(X, rx_compressed) \
	STAT(X, tx_compressed) STAT(X, rx_nohandler) STAT(X, rx_otherhost_dropped) \
	X(L_INET, "af_spec_inet_conf", 4, LIST) X(L_INET6_FLAGS, "af_spec_inet6_flags", 4, MAYBE) \
	X(L_INET6_CONF, "af_spec_inet6_conf", 4, LIST) \
	X(L_REASM, "af_spec_inet6_cacheinfo_max_reasm_len", 4, MAYBE) \
	X(L_TSTAMP, "af_spec_inet6_cacheinfo_tstamp", 4, MAYBE) \
	X(L_REACHABLE, "af_spec_inet6_cacheinfo_reachable_time", 4, MAYBE) \
	X(L_RETRANS, "af_spec_inet6_cacheinfo_retrans_time", 4, MAYBE) \
	X(L_TOKEN, "af_spec_inet6_token", 16, MAYBE) X(L_GENMODE, "af_spec_inet6_addr_gen_mode", 1, MAYBE) \
	X(L_GROUP, "group", 4, MAYBE) X(L_PROMISCUITY, "promiscuity", 4, MAYBE) \
	X(L_TXQ, "num_tx_queues", 4, MAYBE) X(L_RXQ, "num_rx_queues", 4, MAYBE) \
	X(L_CARRIER, "carrier", 1, MAYBE) X(L_CARRIERS, "carrier_changes", 4, MAYBE) \
	X(L_PROTO_DOWN, "proto_down", 1, MAYBE) X(L_GSO_SEGS, "gso_max_segs", 4, MAYBE) \
	X(L_GSO_SIZE, "gso_max_size", 4, MAYBE) X(L_XDP, "xdp_attached", 1, MAYBE) \
	X(L_UPS, "carrier_up_count", 4, MAYBE) X(L_DOWNS, "carrier_down_count", 4, MAYBE) \
	X(L_MIN_MTU, "min_mtu", 4, MAYBE) X(L_MAX_MTU, "max_mtu", 4, MAYBE) \
	X(L_GRO_SIZE, "gro_max_size", 4, MAYBE) X(L_TSO_SIZE, "tso_max_size", 4, MAYBE) \
	X(L_TSO_SEGS, "tso_max_segs", 4, MAYBE) X(L_ALLMULTI, "allmulti", 4, MAYBE) \
	X(L_GSO4, "gso_ipv4_max_size", 4, MAYBE) X(L_GRO4, "gro_ipv4_max_size", 4, MAYBE) \
	X(L_PACING, "max_pacing_offload_horizon", 8, MAYBE) X(L_IMMUTABLE, "netns_immutable", 1, MAYBE) \
	X(L_HEADROOM, "headroom", 2, MAYBE) X(L_TAILROOM, "tailroom", 2, MAYBE)

#define SIDE(X, side, name) \
	X(side##_SRC, name "_src", 16, MAYBE) X(side##_DST, name "_dst", 16, MAYBE) \
	X(side##_PROTO, name "_proto", 1, MAYBE) X(side##_SPORT, name "_sport", 2, MAYBE) \
	X(side##_DPORT, name "_dport", 2, MAYBE)
#define CONNTRACK(X) \
	X(C_FAMILY, "family", 1, ALWAYS) SIDE(X, C_ORIG, "orig") SIDE(X, C_REPLY, "reply") \
	X(C_STATUS, "status", 4, MAYBE) X(C_TIMEOUT, "timeout", 4, MAYBE) X(C_ID, "id", 4, MAYBE) \
	X(C_STATE, "tcp_state", 1, MAYBE) X(C_WSCALE, "tcp_wscale_original", 1, MAYBE) \
	X(C_WSCALE_REPLY, "tcp_wscale_reply", 1, MAYBE) X(C_FLAGS, "tcp_flags_original", 1, MAYBE) \
	X(C_FLAGS_REPLY, "tcp_flags_reply", 1, MAYBE)

#define FORK(X) \
	X(F_SEQ, "seq", 4, ALWAYS) X(F_CPU, "cpu", 4, ALWAYS) X(F_TIME, "timestamp_ns", 8, ALWAYS) \
	X(F_PARENT, "parent_pid", 4, ALWAYS) X(F_PARENT_TGID, "parent_tgid", 4, ALWAYS) \
	X(F_CHILD, "child_pid", 4, ALWAYS) X(F_CHILD_TGID, "child_tgid", 4, ALWAYS)

#define PACKETS(X) \
	X(P_FAMILY, "family", 1, ALWAYS) X(P_GROUP, "group", 2, ALWAYS) X(P_ETHERTYPE, "hw_protocol", 2, MAYBE) \
	X(P_HOOK, "hook", 1, MAYBE) X(P_PREFIX, "prefix", 0, BYTES) X(P_INDEV, "ifindex_indev", 4, MAYBE) \
	X(P_TIMESTAMP, "timestamp", 8, MAYBE) X(P_HWADDR, "hwaddr", 0, BYTES) \
	X(P_VERSION, "ip_version", 1, MAYBE) X(P_SRC, "src", 16, MAYBE) X(P_DST, "dst", 16, MAYBE) \
	X(P_PROTOCOL, "protocol", 1, MAYBE) X(P_SPORT, "sport", 2, MAYBE) X(P_DPORT, "dport", 2, MAYBE) \
	X(P_FLAGS, "tcp_flags", 2, MAYBE) X(P_TCP_SEQ, "tcp_seq", 4, MAYBE) X(P_TCP_ACK, "tcp_ack", 4, MAYBE) \
	X(P_WINDOW, "tcp_window", 2, MAYBE) X(P_LENGTH, "length", 4, MAYBE) X(P_TTL, "ttl", 1, MAYBE) \
	X(P_TOS, "tos", 1, MAYBE) X(P_ID, "ip_id", 4, MAYBE) X(P_IP_FLAGS, "ip_flags", 1, MAYBE) \
	X(P_DATA, "data_offset", 2, MAYBE) X(P_PAYLOAD, "payload", 0, BYTES) X(P_SEQ, "seq", 4, MAYBE) \
	X(P_HWTYPE, "hwtype", 2, MAYBE) X(P_HWHEADER, "hwheader", 0, BYTES) X(P_HWLEN, "hwlen", 2, MAYBE)

#define NUMBER(symbol, name, width, shape) symbol,
#define DESCRIBE(symbol, name, width, shape) { name, width, shape },
enum route_column { ROUTE(NUMBER) ROUTES };
enum link_column { LINK(NUMBER) LINKS };
enum conntrack_column { CONNTRACK(NUMBER) CONNECTIONS };
enum fork_column { FORK(NUMBER) FORKS };
enum packet_column { PACKETS(NUMBER) LOGGED };
static const struct column route_columns[] = { ROUTE(DESCRIBE) };
static const struct column link_columns[] = { LINK(DESCRIBE) };
static const struct column conntrack_columns[] = { CONNTRACK(DESCRIBE) };
static const struct column fork_columns[] = { FORK(DESCRIBE) };
static const struct column packet_columns[] = { PACKETS(DESCRIBE) };

static inline size_t lines(size_t size)
{
	return (size + 63) & ~(size_t)63;
}

/* All columns as one piece of zeros; bytes and lists grow on their own. */
static inline struct table *table_new(const struct column *columns, uint32_t count, uint32_t rows)
{
	struct table *t = calloc(1, sizeof(*t));
	size_t total = 4 * lines(4 * (size_t)rows + 4) + lines(rows);
	uint8_t *at;

	for (uint32_t i = 0; i < count; i++)
		total += columns[i].shape >= BYTES ? lines(4 * (size_t)rows + 4) + lines(rows)
						   : lines((size_t)rows * columns[i].width) + lines(rows);
	at = calloc(total, 1);
	*t = (struct table){ .columns = columns, .count = count, .rows = rows, .memory = at };
#define TAKE(member, size) (t->member = (void *)at, at += lines(size))
	TAKE(nl_row, 4 * (size_t)rows);
	TAKE(nl_group, 4 * (size_t)rows);
	TAKE(nl_nsid, 4 * (size_t)rows);
	TAKE(nl_op, rows);
	TAKE(damaged, rows);
	for (uint32_t i = 0; i < count; i++) {
		if (columns[i].shape >= BYTES) {
			TAKE(offsets[i], 4 * (size_t)rows + 4);
			t->room[i] = 32 * (size_t)rows;
			t->values[i] = malloc(t->room[i]);
		} else {
			TAKE(values[i], (size_t)rows * columns[i].width);
		}
		if (columns[i].shape != ALWAYS)
			TAKE(valid[i], rows);
	}
	return t;
}

static inline void table_free(struct table *t)
{
	for (uint32_t i = 0; i < t->count; i++)
		if (t->columns[i].shape >= BYTES)
			free(t->values[i]);
	free(t->memory);
	free(t);
}

/* -- attributes to cells ------------------------------------------------------------------------- */

#define EACH(at, left) \
	for (; left >= sizeof(struct nlattr) && at->nla_len >= sizeof(struct nlattr) && at->nla_len <= left; \
	     step = NLA_ALIGN(at->nla_len) < left ? NLA_ALIGN(at->nla_len) : left, left -= step, \
	     at = (const struct nlattr *)((const uint8_t *)at + step))
#define INSIDE(at) ((const uint8_t *)(at) + sizeof(struct nlattr))
#define LENGTH(at) ((at)->nla_len - sizeof(struct nlattr))

static inline void put(struct table *t, int column, uint32_t row, const struct nlattr *at, size_t width)
{
	if (LENGTH(at) < width) {
		t->damaged[row] = 1;
		return;
	}
	memcpy(t->values[column] + row * width, INSIDE(at), width);
	t->valid[column][row] = 1;
}

static inline void put_be16(struct table *t, int column, uint32_t row, const struct nlattr *at)
{
	uint16_t value;

	if (LENGTH(at) < sizeof(value)) {
		t->damaged[row] = 1;
		return;
	}
	memcpy(&value, INSIDE(at), sizeof(value));
	((uint16_t *)t->values[column])[row] = be16toh(value);
	t->valid[column][row] = 1;
}

static inline void put_be32(struct table *t, int column, uint32_t row, const struct nlattr *at)
{
	uint32_t value;

	if (LENGTH(at) < sizeof(value)) {
		t->damaged[row] = 1;
		return;
	}
	memcpy(&value, INSIDE(at), sizeof(value));
	((uint32_t *)t->values[column])[row] = be32toh(value);
	t->valid[column][row] = 1;
}

static inline void put_address(struct table *t, int column, uint32_t row, const struct nlattr *at)
{
	uint8_t *to = t->values[column] + 16 * (size_t)row;

	if (LENGTH(at) == 4) {
		memset(to + 10, 0xff, 2);
		memcpy(to + 12, INSIDE(at), 4);
	} else if (LENGTH(at) == 16) {
		memcpy(to, INSIDE(at), 16);
	} else {
		t->damaged[row] = 1;
		return;
	}
	t->valid[column][row] = 1;
}

/* Bytes, or an array; the next row begins where it ends. */
static inline void put_bytes(struct table *t, int column, uint32_t row, const void *data, size_t length)
{
	uint32_t begin = t->offsets[column][row];

	if (begin + length > t->room[column]) {
		t->room[column] = 2 * (begin + length);
		t->values[column] = realloc(t->values[column], t->room[column]);
	}
	memcpy(t->values[column] + begin, data, length);
	t->offsets[column][row + 1] = begin + length;
	t->valid[column][row] = 1;
}

static inline void put_text(struct table *t, int column, uint32_t row, const struct nlattr *at)
{
	put_bytes(t, column, row, INSIDE(at), strnlen((const char *)INSIDE(at), LENGTH(at)));
}
