/* SPDX-License-Identifier: MIT */
/*
 * The C floor: what a careful C program needs for the same datagrams. Compiled and called by the
 * benchmarks; every figure of nlbus is a ratio to one of these, taken in the same run.
 *
 * It is meant to be hard to beat: slots of the exact size, set up once, warm memory, 64 datagrams a
 * system call, nothing stored but a few sums. It takes name and control as any reader must that
 * wants to know who sent (SCM_CREDENTIALS).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nlbus.h"

#define SLOTS 64

struct reader {
	int fd;
	size_t slot;
	uint8_t *memory;
	struct mmsghdr slots[SLOTS];
	struct iovec vectors[SLOTS];
	struct sockaddr_nl names[SLOTS];
	uint8_t controls[SLOTS][64];
};

/* The results of a walk go here, so that no compiler leaves it out. */
struct floor_sum {
	uint64_t datagrams, messages, bytes, seq;
};

/* A reader of datagrams of at most `slot` bytes, its memory touched. */
struct reader *floor_reader(int fd, size_t slot)
{
	struct reader *r = aligned_alloc(4096, (sizeof(*r) + 4095) & ~4095UL);

	slot = (slot + 63) & ~63UL;
	memset(r, 0, sizeof(*r));
	r->fd = fd;
	r->slot = slot;
	r->memory = aligned_alloc(4096, (SLOTS * slot + 4095) & ~4095UL);
	memset(r->memory, 0, SLOTS * slot);
	for (int i = 0; i < SLOTS; i++) {
		r->vectors[i] = (struct iovec){ r->memory + i * slot, slot };
		r->slots[i].msg_hdr = (struct msghdr){
			.msg_name = &r->names[i], .msg_iov = &r->vectors[i], .msg_iovlen = 1,
			.msg_control = r->controls[i],
		};
	}
	return r;
}

void floor_free(struct reader *r)
{
	free(r->memory);
	free(r);
}

static int receive(struct reader *r)
{
	for (int i = 0; i < SLOTS; i++) {
		r->slots[i].msg_hdr.msg_namelen = sizeof(r->names[i]);
		r->slots[i].msg_hdr.msg_controllen = sizeof(r->controls[i]);
	}
	return recvmmsg(r->fd, r->slots, SLOTS, MSG_DONTWAIT, NULL);
}

/* Empty the queue without a copy: slots without room, whose datagrams are cut to nothing. */
void floor_look(struct reader *r, struct floor_sum *sum)
{
	int n;

	for (int i = 0; i < SLOTS; i++)
		r->slots[i].msg_hdr.msg_iovlen = 0;
	while ((n = receive(r)) > 0)
		sum->datagrams += n;
	for (int i = 0; i < SLOTS; i++)
		r->slots[i].msg_hdr.msg_iovlen = 1;
}

/* Empty the queue, touching no more than each datagram's length. */
void floor_receive(struct reader *r, struct floor_sum *sum)
{
	int n;

	while ((n = receive(r)) > 0)
		for (int i = 0; i < n; i++) {
			sum->datagrams++;
			sum->bytes += r->slots[i].msg_len;
		}
}

/* Empty the queue and walk every chain. */
void floor_walk(struct reader *r, struct floor_sum *sum)
{
	int n;

	while ((n = receive(r)) > 0)
		for (int i = 0; i < n; i++) {
			int left = r->slots[i].msg_len;
			struct nlmsghdr *h = (struct nlmsghdr *)(r->memory + i * r->slot);
			uint64_t messages = 0, bytes = 0, seq = 0;

			for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
				messages++;
				bytes += h->nlmsg_len;
				seq += h->nlmsg_seq;
			}
			sum->datagrams++;
			sum->messages += messages;
			sum->bytes += bytes;
			sum->seq += seq;
		}
}

/* Bus datagrams of one recvmmsg: check each batch header and count its events. */
static void take(struct reader *r, int n, struct floor_sum *sum)
{
	for (int i = 0; i < n; i++) {
		int left = r->slots[i].msg_len;
		struct nlmsghdr *h = (struct nlmsghdr *)(r->memory + i * r->slot);

		sum->datagrams++;
		for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
			struct nlbus_batch *b = NLMSG_DATA(h);

			if (h->nlmsg_len < sizeof(*h) + sizeof(*b) || b->magic != NLBUS_MAGIC)
				continue;
			sum->messages += b->count;
			sum->bytes += (uint64_t)b->count * b->record_size;
			sum->seq = b->first_seq + b->count;
		}
	}
}

/* Empty the queue of bus datagrams. */
void floor_bus(struct reader *r, struct floor_sum *sum)
{
	int n;

	while ((n = receive(r)) > 0)
		take(r, n, sum);
}

/* The same for a process of its own: from the first datagram until none has come for so long. */
void floor_listen(struct reader *r, struct floor_sum *sum, int idle_ms)
{
	struct pollfd p = { .fd = r->fd, .events = POLLIN };

	for (int wait = -1; poll(&p, 1, wait) > 0; wait = idle_ms)
		floor_bus(r, sum);
}

/* The bare receive of a dump: ask, and read to its end. Its bytes, or -1. */
long floor_dump(int fd, const void *request, size_t length, uint8_t *room, size_t size)
{
	long total = 0;

	if (send(fd, request, length, 0) < 0)
		return -1;
	for (;;) {
		ssize_t n = recv(fd, room, size, 0);
		const struct nlmsghdr *last = (const struct nlmsghdr *)(room + n - NLMSG_LENGTH(4));

		if (n < (ssize_t)NLMSG_LENGTH(4))
			return -1;
		total += n;
		if (last->nlmsg_type == NLMSG_DONE && last->nlmsg_len == NLMSG_LENGTH(4))
			return total;
	}
}

/* Make processes, and wait for the end of each. The processes made. */
long floor_fork(long count)
{
	for (long i = 0; i < count; i++) {
		pid_t child = vfork();

		if (child == 0)
			_exit(0);
		if (child < 0)
			return i;
		waitpid(child, NULL, 0);
	}
	return count;
}

/* A socket to send from: its own portid takes the unicast leg, and a filter drops it. */
int floor_sender(uint32_t *portid)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop };
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	socklen_t length = sizeof(self);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0
	    || bind(fd, (struct sockaddr *)&self, sizeof(self)) < 0
	    || getsockname(fd, (struct sockaddr *)&self, &length) < 0)
		return -errno;
	*portid = self.nl_pid;
	return fd;
}

static long push(int fd, struct mmsghdr *slots, int n)
{
	for (int at = 0; at < n;) {
		int k = sendmmsg(fd, slots + at, n - at, 0);

		if (k < 0)
			return -errno;
		at += k;
	}
	return n;
}

/* Send datagrams that are complete in memory. Datagrams, or -errno. */
long floor_post(int fd, uint32_t self, uint32_t group, const uint8_t *base, const uint64_t *starts,
		const uint32_t *lengths, long count)
{
	struct mmsghdr slots[SLOTS] = { 0 };
	struct iovec parts[SLOTS];
	struct sockaddr_nl to = {
		.nl_family = AF_NETLINK, .nl_pid = self, .nl_groups = 1U << (group - 1),
	};

	for (long done = 0; done < count;) {
		int n = 0;

		for (; n < SLOTS && done < count; n++, done++) {
			parts[n] = (struct iovec){ (void *)(base + starts[done]), lengths[done] };
			slots[n].msg_hdr = (struct msghdr){
				.msg_name = &to, .msg_namelen = sizeof(to),
				.msg_iov = &parts[n], .msg_iovlen = 1,
			};
		}
		long error = push(fd, slots, n);

		if (error < 0)
			return error;
	}
	return count;
}

/*
 * Send `count` records of `size` bytes, `per` a datagram, to one group: two iovecs a datagram,
 * straight from the caller's array, SLOTS datagrams a call; all that never changes is set up once.
 * Returns the datagrams that were sent, or -errno.
 */
long floor_send(int fd, uint32_t self, uint32_t group, const uint8_t *records, long count,
		uint32_t size, uint32_t per, struct nlbus_batch *b)
{
	static struct mmsghdr slots[SLOTS];
	static struct {
		struct nlmsghdr h;
		struct nlbus_batch b;
	} heads[SLOTS];
	static struct iovec parts[SLOTS][2];
	struct sockaddr_nl to = {
		.nl_family = AF_NETLINK, .nl_pid = self, .nl_groups = 1U << (group - 1),
	};
	long done = 0, sent = 0;

	for (int n = 0; n < SLOTS; n++) {
		heads[n].b = *b;
		heads[n].h.nlmsg_type = NLBUS_MSG_BATCH;
		parts[n][0] = (struct iovec){ &heads[n], sizeof(heads[n]) };
		slots[n].msg_hdr = (struct msghdr){
			.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = parts[n], .msg_iovlen = 2,
		};
	}
	while (done < count) {
		int n = 0;

		for (; n < SLOTS && done < count; n++) {
			uint32_t k = count - done < per ? count - done : per;

			heads[n].h.nlmsg_len = sizeof(heads[n]) + k * size;
			heads[n].b.count = k;
			heads[n].b.first_seq = b->first_seq;
			heads[n].b.dgram_seq = b->dgram_seq;
			parts[n][1] = (struct iovec){ (void *)(records + done * size), k * size };
			b->first_seq += k;
			b->dgram_seq++;
			done += k;
		}
		long error = push(fd, slots, n);

		if (error < 0)
			return error;
		sent += n;
	}
	return sent;
}
