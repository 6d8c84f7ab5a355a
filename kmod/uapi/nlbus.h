/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * nlbus: events over netlink multicast. This header is the wire document.
 *
 * A datagram of the bus is a chain of netlink messages, walked as ever with
 * NLMSG_OK() and NLMSG_NEXT(). Each message of type NLBUS_MSG_BATCH carries
 *
 *	struct nlmsghdr		16 bytes
 *	struct nlbus_batch	header_len bytes (80 in this version)
 *	body			up to the end given by nlmsg_len
 *
 * All numbers are in the byte order of the host: netlink never leaves it.
 *
 * Body, plain:			count records of record_size bytes (1 or more),
 *				packed
 * Body, NLBUS_F_VAR:		__u32 offsets[count + 1], then the bytes; event i
 *				is bytes[offsets[i] .. offsets[i + 1]), which may
 *				be empty. offsets[0] is 0, offsets never fall
 *				(Arrow's layout), record_size is 0
 * Body, NLBUS_F_TIMES:		after the above, padded with zeros to the next
 *				multiple of 8 from the start of the body:
 *				__u32 delta[count], nanoseconds since time_ns
 *
 * Nothing follows but at most 7 bytes of padding. Where another message
 * follows in the datagram, nlmsg_len is padded to a multiple of 8, so that
 * every header of a chain is aligned to 8; the last message ends unpadded.
 *
 * Streams. Netlink sends to one group a call, so an event for k groups is sent
 * k times, the same bytes. A publisher keeps one stream for each exact set of
 * groups: a stream is (portid as the kernel reports it, instance, groups).
 * Every datagram of a stream has the next dgram_seq, every event the next
 * sequence number. All batches of one datagram belong to one stream and bear
 * the same dgram_seq. A datagram goes to all groups of its stream before the
 * stream's next one goes to any. A reader therefore knows:
 *
 *	dgram_seq below the expected	another copy: drop it
 *	else				deliver, and first_seq - expected events
 *					were lost, exactly
 *
 * The first datagram that a reader sees of a stream is its baseline. A batch
 * with count 0 is a heartbeat: it has a dgram_seq of its own, and its
 * first_seq tells how far the stream has come. It is sent when a stream falls
 * idle and when it is closed.
 */
#ifndef _UAPI_NLBUS_H
#define _UAPI_NLBUS_H

#include <linux/netlink.h>
#include <linux/types.h>

/* nlmsg_type 0x10 to 0x1f belong to nlbus. */
#define NLBUS_MSG_BATCH		0x10

#define NLBUS_MAGIC		0x7375626eU	/* "nbus" on a little-endian host */
#define NLBUS_VERSION		1

#define NLBUS_F_VAR		0x1	/* events of varying length */
#define NLBUS_F_TIMES		0x2	/* one time an event */
#define NLBUS_F_KNOWN		(NLBUS_F_VAR | NLBUS_F_TIMES)

#define NLBUS_GROUPS		32	/* groups 1..32; bit g - 1 is group g */

/* Beyond this a datagram costs the receive buffer twice (the next slab). */
#define NLBUS_MAX_DATAGRAM	32448
/* Most events in one batch; a larger count is malformed. */
#define NLBUS_MAX_COUNT		65535

/**
 * struct nlbus_batch - what stands before the events of one message
 * @magic:		NLBUS_MAGIC
 * @version:		NLBUS_VERSION; a reader refuses another
 * @header_len:		bytes from @magic to the body, a multiple of 8; may grow
 * @flags:		NLBUS_F_*; a reader refuses unknown ones
 * @record_size:	bytes an event; 0 with NLBUS_F_VAR
 * @count:		events in this message; 0 is a heartbeat
 * @type:		the event type, the publisher's to choose
 * @fingerprint:	hash of the events' schema; 0 where there is none
 * @instance:		random, one a stream
 * @first_seq:		sequence number of the first event, from 0
 * @dgram_seq:		number of this datagram in its stream, from 0
 * @time_ns:		CLOCK_REALTIME in nanoseconds, when the first event was
 *			published
 * @groups:		mask of all groups that this event goes to, never 0
 * @origin_portid:	who published, stamped by the kernel module; 0 elsewhere
 * @origin_uid:		the same for the user
 * @reserved:		0
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
	__u32	reserved;
};

#endif /* _UAPI_NLBUS_H */
