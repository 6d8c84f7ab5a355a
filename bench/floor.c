/* SPDX-License-Identifier: MIT */
/*
 * The C floor: what a careful C program needs for the same datagrams. Compiled and called by the
 * benchmarks; every figure of nlbus is a ratio to one of these, taken in the same run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/netlink.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "nlbus.h"

#define SLOTS 64

static uint8_t controls[SLOTS][64];
static struct sockaddr_nl names[SLOTS];
static struct mmsghdr slots[SLOTS];
static struct iovec vectors[SLOTS];

/* The results of a walk go here, so that no compiler leaves it out. */
struct floor_sum {
	uint64_t datagrams, messages, bytes, seq;
};

static int receive(int fd, uint8_t *memory, size_t slot)
{
	for (int i = 0; i < SLOTS; i++) {
		vectors[i] = (struct iovec){ memory + i * slot, slot };
		slots[i].msg_hdr = (struct msghdr){
			.msg_name = &names[i], .msg_namelen = sizeof(names[i]),
			.msg_iov = &vectors[i], .msg_iovlen = 1,
			.msg_control = controls[i], .msg_controllen = sizeof(controls[i]),
		};
	}
	return recvmmsg(fd, slots, SLOTS, MSG_DONTWAIT, NULL);
}

/* Empty the queue, touching no more than each datagram's length. */
void floor_receive(int fd, uint8_t *memory, size_t slot, struct floor_sum *sum)
{
	int n;

	while ((n = receive(fd, memory, slot)) > 0)
		for (int i = 0; i < n; i++) {
			sum->datagrams++;
			sum->bytes += slots[i].msg_len;
		}
}

/* Empty the queue and walk every chain. */
void floor_walk(int fd, uint8_t *memory, size_t slot, struct floor_sum *sum)
{
	int n;

	while ((n = receive(fd, memory, slot)) > 0)
		for (int i = 0; i < n; i++) {
			int left = slots[i].msg_len;
			struct nlmsghdr *h = (struct nlmsghdr *)(memory + i * slot);

			sum->datagrams++;
			for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
				sum->messages++;
				sum->bytes += h->nlmsg_len;
				sum->seq += h->nlmsg_seq;
			}
		}
}

/* Empty the queue of bus datagrams: check each batch header and count its events. */
void floor_bus(int fd, uint8_t *memory, size_t slot, struct floor_sum *sum)
{
	int n;

	while ((n = receive(fd, memory, slot)) > 0)
		for (int i = 0; i < n; i++) {
			int left = slots[i].msg_len;
			struct nlmsghdr *h = (struct nlmsghdr *)(memory + i * slot);

			sum->datagrams++;
			for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
				struct nlbus_batch *b = NLMSG_DATA(h);

				if (h->nlmsg_len < sizeof(*h) + sizeof(*b) || b->magic != NLBUS_MAGIC)
					continue;
				sum->messages += b->count;
				sum->seq = b->first_seq + b->count;
			}
		}
}

/*
 * Send `count` records of `size` bytes, `per` a datagram, to one group: two
 * iovecs a datagram, straight from the caller's array, SLOTS datagrams a call.
 * Returns the datagrams that were sent.
 */
long floor_send(int fd, uint32_t self, uint32_t group, const uint8_t *records, long count,
		uint32_t size, uint32_t per, struct nlbus_batch *b)
{
	static struct {
		struct nlmsghdr h;
		struct nlbus_batch b;
	} heads[SLOTS];
	static struct iovec parts[SLOTS][2];
	struct sockaddr_nl to = { .nl_family = AF_NETLINK, .nl_pid = self, .nl_groups = 1U << (group - 1) };
	long done = 0, sent = 0;

	while (done < count) {
		int n = 0;

		for (; n < SLOTS && done < count; n++) {
			uint32_t k = count - done < per ? count - done : per;

			heads[n].b = *b;
			heads[n].b.count = k;
			heads[n].h = (struct nlmsghdr){
				.nlmsg_len = sizeof(heads[n]) + k * size, .nlmsg_type = NLBUS_MSG_BATCH,
			};
			b->first_seq += k;
			b->dgram_seq++;
			parts[n][0] = (struct iovec){ &heads[n], sizeof(heads[n]) };
			parts[n][1] = (struct iovec){ (void *)(records + done * size), k * size };
			slots[n].msg_hdr = (struct msghdr){
				.msg_name = &to, .msg_namelen = sizeof(to),
				.msg_iov = parts[n], .msg_iovlen = 2,
			};
			done += k;
		}
		for (int at = 0; at < n;) {
			int k = sendmmsg(fd, slots + at, n - at, 0);

			if (k < 0)
				return -errno;
			at += k;
			sent += k;
		}
	}
	return sent;
}
