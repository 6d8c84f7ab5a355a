/* The interface that libmnl.c and libnl.c share, so that one Python class drives both. */
#pragma once

#include <stdint.h>
#include <stddef.h>
#include <sys/socket.h>

struct counts {
	uint64_t messages; /* of the requested kinds: links and routes, new and gone */
	uint64_t value;    /* the sum of their RTA_OIF and IFLA_MTU, so that each message was read */
	uint64_t overruns; /* how often the library reported ENOBUFS */
};

/* Parse consecutive messages in memory. Returns 0, or a negative error of the library. */
int library_parse(const void *messages, size_t length, struct counts *counts);

/* Request all IPv4 routes and read the answer. */
int library_dump(struct counts *counts);

/* A socket that has joined RTNLGRP_IPV4_ROUTE; buffer: bytes to receive into, 0: the library's own. NULL: no. */
void *library_open(int buffer);

/* Read until `stop` is readable and nothing has come for `quiet_ms`; closes the socket. */
int library_listen(void *socket, int stop, int quiet_ms, struct counts *counts);

/* As a Subscriber does. The kernel doubles this value. */
static inline void enlarge(int fd, int buffer)
{
	int half = buffer / 2;

	if (half && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &half, sizeof(half)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof(half));
}
