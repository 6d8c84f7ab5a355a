// SPDX-License-Identifier: MIT
/*
 * Subscribe to groups of the bus and print their events, with libmnl and uapi/nlbus.h alone.
 *
 *	cc -O2 -Wall -o example subscribe.c -lmnl
 *	./example 1 7
 *
 * Uses the module's protocol if it is loaded, else NETLINK_USERSOCK. A real reader would receive
 * many datagrams per system call.
 */
#define _GNU_SOURCE /* struct ucred */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <libmnl/libmnl.h>

#include "../uapi/nlbus.h"

#define STREAMS	64

/* The sender of a datagram, as the kernel reports it. */
struct sender {
	__u32 portid;
	__u32 uid;
	bool module;
};

/* Position in a stream of a sender. */
struct stream {
	__u32 portid;
	__u32 groups;
	__u64 instance;
	__u64 next_dgram;
	__u64 next_seq;
	__u64 datagram;
};

static struct stream streams[STREAMS];
static unsigned int open_streams;
static __u64 datagrams;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int find_protocol(bool *module)
{
	FILE *file = fopen("/sys/module/nlbus/parameters/protocol", "r");
	int number;

	*module = file && fscanf(file, "%d", &number) == 1;
	if (file)
		fclose(file);
	return *module ? number : NETLINK_USERSOCK;
}

/* Believe events of the kernel, of root, and those that the module stamped as root's. */
static bool believed(const struct sender *from, const struct nlbus_batch *batch)
{
	if (!from->module)
		return from->portid && !from->uid;
	if (!from->portid)
		return !batch->origin_portid;
	return !from->uid && batch->origin_portid == from->portid && batch->origin_uid == from->uid;
}

static struct stream *find(const struct sender *from, const struct nlbus_batch *batch)
{
	struct stream *s;
	unsigned int i;

	for (i = 0; i < open_streams; i++) {
		s = &streams[i];
		if (s->portid == from->portid && s->instance == batch->instance &&
		    s->groups == batch->groups)
			return s;
	}
	/* The first datagram is the baseline. Too many streams: this example forgets them all. */
	if (open_streams == STREAMS)
		open_streams = 0;
	s = &streams[open_streams++];
	*s = (struct stream){
		.portid = from->portid,
		.groups = batch->groups,
		.instance = batch->instance,
		.next_dgram = batch->dgram_seq,
		.next_seq = batch->first_seq,
	};
	return s;
}

/* Returns false for another copy of a datagram, received by another of its groups. */
static bool account(const struct sender *from, const struct nlbus_batch *batch)
{
	struct stream *s = find(from, batch);

	if (batch->dgram_seq < s->next_dgram && s->datagram != datagrams)
		return false;
	if (batch->first_seq > s->next_seq)
		printf("lost %llu events for groups %#x\n", batch->first_seq - s->next_seq,
		       batch->groups);
	s->next_dgram = batch->dgram_seq + 1;
	s->next_seq = batch->first_seq + batch->count;
	s->datagram = datagrams;
	return true;
}

static void print_event(const struct nlbus_batch *batch, __u64 seq, const __u8 *data, __u32 len)
{
	__u32 i;

	printf("groups %#x type %#x seq %llu len %u:", batch->groups, batch->type, seq, len);
	for (i = 0; i < len && i < 32; i++)
		printf(" %02x", data[i]);
	printf("%s\n", len > 32 ? " ..." : "");
}

/* Returns false if the body contradicts its header. */
static bool print_body(const struct nlbus_batch *batch, const __u8 *body, __u64 room)
{
	const __u32 *offsets = (const __u32 *)body;
	__u64 size = batch->record_size, before;
	__u32 i;

	if (!(batch->flags & NLBUS_F_VAR)) {
		if (size * batch->count > room)
			return false;
		for (i = 0; i < batch->count; i++)
			print_event(batch, batch->first_seq + i, body + i * size, size);
		return true;
	}
	before = 4 * ((__u64)batch->count + 1);
	if (before > room || offsets[0])
		return false;
	for (i = 0; i < batch->count; i++) {
		if (offsets[i + 1] < offsets[i] || offsets[i + 1] > room - before)
			return false;
		print_event(batch, batch->first_seq + i, body + before + offsets[i],
			    offsets[i + 1] - offsets[i]);
	}
	return true;
}

static void take(const struct sender *from, const struct nlmsghdr *nlh)
{
	const struct nlbus_batch *batch = mnl_nlmsg_get_payload(nlh);
	size_t len = mnl_nlmsg_get_payload_len(nlh);

	if (nlh->nlmsg_type != NLBUS_MSG_BATCH)
		return;
	if (len < sizeof(*batch) || batch->magic != NLBUS_MAGIC ||
	    batch->version != NLBUS_VERSION || batch->header_len < sizeof(*batch) ||
	    batch->header_len % 8 || batch->header_len > len || batch->flags & ~NLBUS_F_KNOWN ||
	    batch->count > NLBUS_MAX_COUNT || !batch->groups) {
		fprintf(stderr, "malformed batch\n");
		return;
	}
	if (!believed(from, batch)) {
		fprintf(stderr, "from portid %u, uid %u: not believed\n", from->portid, from->uid);
		return;
	}
	if (account(from, batch) &&
	    !print_body(batch, (const __u8 *)batch + batch->header_len, len - batch->header_len))
		fprintf(stderr, "malformed batch\n");
}

/* As mnl_socket_recvfrom(), but with the sender's uid. Returns the datagram's length. */
static size_t receive(int fd, void *buffer, size_t size, struct sender *from)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct sockaddr_nl name = { 0 };
	struct iovec iov = { .iov_base = buffer, .iov_len = size };
	struct msghdr message = {
		.msg_name = &name,
		.msg_namelen = sizeof(name),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct ucred who = { .uid = -1 };
	ssize_t length = recvmsg(fd, &message, 0);
	struct cmsghdr *cmsg;

	if (length < 0 && errno == ENOBUFS)
		return 0;
	if (length < 0)
		die("recvmsg");
	for (cmsg = CMSG_FIRSTHDR(&message); cmsg; cmsg = CMSG_NXTHDR(&message, cmsg))
		if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_CREDENTIALS)
			memcpy(&who, CMSG_DATA(cmsg), sizeof(who));
	from->portid = name.nl_pid;
	from->uid = who.uid;
	return message.msg_flags & MSG_TRUNC ? 0 : length;
}

int main(int argc, char **argv)
{
	static __u64 buffer[65536 / 8];
	const struct nlmsghdr *nlh;
	struct mnl_socket *socket;
	struct sender from = { 0 };
	int i, group, length, on = 1;

	if (argc < 2) {
		fprintf(stderr, "usage: %s GROUP...\n", argv[0]);
		return 2;
	}
	socket = mnl_socket_open(find_protocol(&from.module));
	if (!socket || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0)
		die("socket");
	if (setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		die("SO_PASSCRED");
	for (i = 1; i < argc; i++) {
		group = atoi(argv[i]);
		if (mnl_socket_setsockopt(socket, NETLINK_ADD_MEMBERSHIP, &group,
					  sizeof(group)) < 0)
			die(argv[i]);
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (;;) {
		length = receive(mnl_socket_get_fd(socket), buffer, sizeof(buffer), &from);
		datagrams++;
		for (nlh = (const void *)buffer; mnl_nlmsg_ok(nlh, length);
		     nlh = mnl_nlmsg_next(nlh, &length))
			take(&from, nlh);
	}
}
