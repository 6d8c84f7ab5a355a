/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * nlbus: events over netlink multicast. This header is the wire document.
 *
 * A datagram of the bus is a chain of netlink messages, to be walked with
 * NLMSG_OK() and NLMSG_NEXT(). Each message of type NLBUS_MSG_BATCH carries
 *
 *	struct nlmsghdr		16 bytes
 *	struct nlbus_batch	header_len bytes (80 in this version)
 *	body			up to nlmsg_len
 *
 * All numbers have the host's byte order: netlink never leaves the host.
 *
 * Body, plain:			count records of record_size bytes (1 or more),
 *				packed
 * Body, NLBUS_F_VAR:		__u32 offsets[count + 1], then the bytes; event i
 *				is bytes[offsets[i] .. offsets[i + 1]), which may
 *				be empty. offsets[0] is 0, offsets never decrease
 *				(Arrow's layout), record_size is 0
 * Body, NLBUS_F_TIMES:		after the above, padded with zeros to the next
 *				multiple of 8 from the start of the body:
 *				__u32 delta[count], nanoseconds since time_ns
 *
 * At most 7 bytes of padding follow the body. Between messages of a datagram,
 * nlmsg_len is padded to a multiple of 8, so that every header of a chain is
 * aligned to 8; the last message is not padded.
 *
 * Streams. Netlink sends to one group per call, so an event for k groups is
 * sent k times with the same bytes. A publisher has one stream per exact set
 * of groups: a stream is (portid as reported by the kernel, instance, groups).
 * Every datagram of a stream has the next dgram_seq, every event the next
 * sequence number. All batches of a datagram belong to one stream and have the
 * same dgram_seq. A datagram is sent to all groups of its stream before the
 * next one is sent to any. A reader therefore knows:
 *
 *	dgram_seq below the expected	another copy: drop it
 *	else				deliver; exactly first_seq - expected
 *					events were lost
 *
 * The first datagram of a stream that a reader sees is its baseline. A batch
 * with count 0 is a heartbeat: it has a dgram_seq of its own, and its
 * first_seq reports how far the stream has come. A publisher sends one when a
 * stream becomes idle and when it is closed.
 *
 * A publisher may repeat a datagram, with the same dgram_seq, for subscribers
 * that had no room for it; for all others it is a copy. It increments @repeats,
 * by which readers distinguish drops that were repaired from losses.
 */
#ifndef _UAPI_NLBUS_H
#define _UAPI_NLBUS_H

#include <linux/netlink.h>
#include <linux/types.h>

/* nlmsg_type 0x10 to 0x1f belong to nlbus. */
#define NLBUS_MSG_BATCH		0x10
#define NLBUS_MSG_GET		0x11	/* these three: requests to the module, see below */
#define NLBUS_MSG_SET		0x12
#define NLBUS_MSG_STATS		0x13

#define NLBUS_MAGIC		0x7375626eU	/* "nbus" on a little-endian host */
#define NLBUS_VERSION		1

#define NLBUS_F_VAR		0x1	/* events of varying length */
#define NLBUS_F_TIMES		0x2	/* one time per event */
#define NLBUS_F_KNOWN		(NLBUS_F_VAR | NLBUS_F_TIMES)

#define NLBUS_GROUPS		32	/* groups 1..32; bit g - 1 is group g */

/* A larger datagram costs twice as much of the receive buffer (the next slab). */
#define NLBUS_MAX_DATAGRAM	32448
/* Largest number of events in a batch; a larger count is malformed. */
#define NLBUS_MAX_COUNT		65535

/**
 * struct nlbus_batch - header before the events of a message
 * @magic:		NLBUS_MAGIC
 * @version:		NLBUS_VERSION; readers refuse others
 * @header_len:		bytes from @magic to the body, a multiple of 8; may grow
 * @flags:		NLBUS_F_*; readers refuse unknown ones
 * @record_size:	bytes per event; 0 with NLBUS_F_VAR
 * @count:		events in this message; 0 is a heartbeat
 * @type:		event type, chosen by the publisher
 * @fingerprint:	hash of the events' schema; 0 if there is none
 * @instance:		random per stream
 * @first_seq:		sequence number of the first event, from 0
 * @dgram_seq:		number of this datagram in its stream, from 0
 * @time_ns:		CLOCK_REALTIME in nanoseconds when the first event was
 *			published; for events of the kernel without NLBUS_F_TIMES, up
 *			to one timer tick earlier
 * @groups:		mask of all groups that the events go to, never 0
 * @origin_portid:	portid of the publishing socket, stamped by the kernel module;
 *			0 for events of the kernel, and on NETLINK_USERSOCK
 * @origin_uid:		uid of the publisher, stamped likewise, as the owner of the
 *			network namespace sees it
 * @repeats:		datagrams of the stream that were repeated so far, with the
 *			same dgram_seq, by a publisher that waits for full
 *			subscribers; 0 elsewhere
 */
struct nlbus_batch {
	__u32	magic;
	__u16	version;
	__u16	header_len;
	__u32	flags;
	__u32	record_size;
	__u32	count;
	__u32	type;
	__u64	fingerprint;
	__u64	instance;
	__u64	first_seq;
	__u64	dgram_seq;
	__u64	time_ns;
	__u32	groups;
	__u32	origin_portid;
	__u32	origin_uid;
	__u32	repeats;
};

/*
 * Publishing through the module: send a datagram as above to portid 0, group 0,
 * with origin_portid, origin_uid and all header bytes beyond struct nlbus_batch
 * 0. It needs CAP_NET_ADMIN in the network namespace. The module checks the whole
 * datagram, stamps its sender and sends it to each group of its mask. NLM_F_ACK
 * in the first message requests an NLMSG_ERROR with that message's nlmsg_seq. A
 * refused datagram is always answered, with the nlmsg_seq of the message at
 * fault: the extack gives the reason and, unless the fault is in the nlmsghdr,
 * NLMSGERR_ATTR_OFFS its offset in that message. Error ENOBUFS means that a
 * subscriber that has set NETLINK_BROADCAST_ERROR had no room; the same datagram
 * sent again, with the same dgram_seq, is a copy to all that had.
 *
 * Requests to the module: NLBUS_MSG_GET, NLBUS_MSG_SET and NLBUS_MSG_STATS
 * (NLM_F_REQUEST) go to portid 0. Attributes follow the nlmsghdr, and an answer
 * has the type of its request. All concern the socket's network namespace.
 * Anybody may send them, but NLBUS_MSG_SET needs CAP_NET_ADMIN.
 */

/**
 * enum nlbus_param - attributes of NLBUS_MSG_GET's answer and of NLBUS_MSG_SET
 * @NLBUS_PARAM_UNSPEC:		none
 * @NLBUS_PARAM_CHAIN_BYTES:	u32, largest datagram of several events of the
 *				kernel; can be set, %NLBUS_MIN_CHAIN to
 *				%NLBUS_MAX_DATAGRAM
 * @NLBUS_PARAM_LINGER_US:	u32, longest time in microseconds that an event of
 *				the kernel waits for others; can be set, up to
 *				%NLBUS_MAX_LINGER_US. Above 0, each event has its
 *				own time (NLBUS_F_TIMES)
 * @NLBUS_PARAM_BUFFER_BYTES:	u32, size of each CPU's buffer
 * @NLBUS_PARAM_OPEN_RECEIVE:	u32, 1 if receiving needs no privilege
 * @NLBUS_PARAM_LISTENERS:	u32, mask of groups that may have subscribers; a
 *				group stays in it for some seconds after its last
 *				subscriber left
 * @__NLBUS_PARAM_MAX:		number of values
 */
enum nlbus_param {
	NLBUS_PARAM_UNSPEC,
	NLBUS_PARAM_CHAIN_BYTES,
	NLBUS_PARAM_LINGER_US,
	NLBUS_PARAM_BUFFER_BYTES,
	NLBUS_PARAM_OPEN_RECEIVE,
	NLBUS_PARAM_LISTENERS,
	__NLBUS_PARAM_MAX
};

#define NLBUS_PARAM_MAX		(__NLBUS_PARAM_MAX - 1)

#define NLBUS_MIN_CHAIN		512
#define NLBUS_MAX_LINGER_US	10000000

/**
 * enum nlbus_stat - attributes of NLBUS_MSG_STATS's answer
 * @NLBUS_STAT_UNSPEC:		none
 * @NLBUS_STAT_PAD:		alignment
 * @NLBUS_STAT_GROUP:		u32, 1..32; 0: the message for the whole namespace
 * @NLBUS_STAT_EVENTS:		u64, events broadcast to the group
 * @NLBUS_STAT_BYTES:		u64, bytes of their datagrams
 * @NLBUS_STAT_DATAGRAMS:	u64, datagrams broadcast, including heartbeats
 * @NLBUS_STAT_SKIPPED:		u64, events without a listener
 * @NLBUS_STAT_FAILED:		u64, datagrams that were dropped for lack of memory,
 *				or of room in a receive buffer (with
 *				NETLINK_BROADCAST_ERROR)
 * @NLBUS_STAT_OVERFLOW:	u64, events lost because a CPU's buffer was full
 * @NLBUS_STAT_NOMEM:		u64, events lost for lack of memory
 * @NLBUS_STAT_REFUSED:		u64, datagrams refused from user space
 * @NLBUS_STAT_EVICTED:		u64, streams ended to make room for others
 * @NLBUS_STAT_STREAMS:		u32, open streams of the kernel
 * @__NLBUS_STAT_MAX:		number of values
 *
 * The request has NLM_F_DUMP. The answer has one message for the namespace, with
 * OVERFLOW and all after it, and one per group, with EVENTS to FAILED and
 * OVERFLOW. An event for several groups counts in each of them.
 */
enum nlbus_stat {
	NLBUS_STAT_UNSPEC,
	NLBUS_STAT_PAD,
	NLBUS_STAT_GROUP,
	NLBUS_STAT_EVENTS,
	NLBUS_STAT_BYTES,
	NLBUS_STAT_DATAGRAMS,
	NLBUS_STAT_SKIPPED,
	NLBUS_STAT_FAILED,
	NLBUS_STAT_OVERFLOW,
	NLBUS_STAT_NOMEM,
	NLBUS_STAT_REFUSED,
	NLBUS_STAT_EVICTED,
	NLBUS_STAT_STREAMS,
	__NLBUS_STAT_MAX
};

#define NLBUS_STAT_MAX		(__NLBUS_STAT_MAX - 1)

#endif /* _UAPI_NLBUS_H */
