/* SPDX-License-Identifier: MIT */
/*
 * The C pair of the latency benchmark: `latency ping|echo GROUP_IN GROUP_OUT`.
 *
 * One event of 64 bytes a datagram, as nlbus sends it, there and back; both ends sleep in recvmsg,
 * and have the socket options of a Subscriber and a Publisher. ping reads the number of round trips
 * from stdin, a line each time, and writes as many int64 nanoseconds to stdout. echo says "ready" and
 * runs until it is killed.
 */
#define _GNU_SOURCE
#include <linux/filter.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nlbus.h"

static int in, out;
static struct sockaddr_nl to;
static struct {
	struct nlmsghdr h;
	struct nlbus_batch b;
	unsigned char event[64];
} datagram;
static unsigned char memory[4096];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void open_sockets(int group_in, int group_out)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog program = { 1, &drop };
	struct sockaddr_nl here = { .nl_family = AF_NETLINK, .nl_groups = 1U << (group_in - 1) };
	struct sockaddr_nl self = { .nl_family = AF_NETLINK };
	socklen_t length = sizeof(self);
	int one = 1, bytes = 32 << 20;

	in = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);
	out = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_USERSOCK);
	if (in < 0 || out < 0)
		die("socket");
	if (setsockopt(in, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof(one))
	    || setsockopt(in, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one))
	    || (setsockopt(in, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes))
		&& setsockopt(in, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)))
	    || setsockopt(out, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)))
		die("setsockopt");
	if (bind(in, (struct sockaddr *)&here, sizeof(here))
	    || bind(out, (struct sockaddr *)&self, sizeof(self))
	    || getsockname(out, (struct sockaddr *)&self, &length))
		die("bind");
	to = (struct sockaddr_nl){
		.nl_family = AF_NETLINK, .nl_pid = self.nl_pid, .nl_groups = 1U << (group_out - 1),
	};
	datagram.h = (struct nlmsghdr){ .nlmsg_len = sizeof(datagram), .nlmsg_type = NLBUS_MSG_BATCH };
	datagram.b = (struct nlbus_batch){
		.magic = NLBUS_MAGIC, .version = NLBUS_VERSION, .header_len = sizeof(datagram.b),
		.record_size = 64, .count = 1, .groups = to.nl_groups,
	};
}

static void publish(void)
{
	datagram.b.first_seq++;
	datagram.b.dgram_seq++;
	if (sendto(out, &datagram, sizeof(datagram), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
		die("sendto");
}

static void await(void)
{
	unsigned char control[64];
	struct sockaddr_nl name;
	struct iovec part = { memory, sizeof(memory) };
	struct msghdr m = {
		.msg_name = &name, .msg_namelen = sizeof(name), .msg_iov = &part, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};

	if (recvmsg(in, &m, 0) < (ssize_t)sizeof(datagram))
		die("recvmsg");
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv)
{
	char line[32];

	if (argc != 4)
		return 2;
	open_sockets(atoi(argv[2]), atoi(argv[3]));
	if (!strcmp(argv[1], "echo")) {
		puts("ready");
		fflush(stdout);
		for (;;) {
			await();
			publish();
		}
	}
	while (fgets(line, sizeof(line), stdin)) {
		long count = atol(line);
		long long *times = malloc(count * sizeof(*times));

		for (long i = 0; i < count; i++) {
			long long start = now();

			publish();
			await();
			times[i] = now() - start;
		}
		fwrite(times, sizeof(*times), count, stdout);
		fflush(stdout);
		free(times);
	}
	return 0;
}
