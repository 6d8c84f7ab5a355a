/* libmnl, as its own examples use it: index all attributes, checking each, then read a few. */
#include "library.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/netlink.h>

#ifndef MNL_SOCKET_DUMP_SIZE /* since libmnl 1.0.5 */
#define MNL_SOCKET_DUMP_SIZE 32768
#endif

struct index {
	const struct nlattr *of[IFLA_MAX + 1];
	int most;
};

static int note(const struct nlattr *attribute, void *data)
{
	struct index *index = data;
	int type = mnl_attr_get_type(attribute);

	if (mnl_attr_type_valid(attribute, index->most) < 0)
		return MNL_CB_OK; /* newer than this header */
	if (index->most == RTA_MAX && (type == RTA_OIF || type == RTA_PRIORITY || type == RTA_TABLE) &&
	    mnl_attr_validate(attribute, MNL_TYPE_U32) < 0)
		return MNL_CB_ERROR;
	if (index->most == IFLA_MAX && type == IFLA_MTU && mnl_attr_validate(attribute, MNL_TYPE_U32) < 0)
		return MNL_CB_ERROR;
	index->of[type] = attribute;
	return MNL_CB_OK;
}

static int one(const struct nlmsghdr *header, void *data)
{
	struct counts *counts = data;
	struct index index = { .most = 0 };
	size_t fixed = 0;
	int wanted = 0;

	switch (header->nlmsg_type) {
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		index.most = RTA_MAX;
		fixed = sizeof(struct rtmsg);
		wanted = RTA_OIF;
		break;
	case RTM_NEWLINK:
	case RTM_DELLINK:
		index.most = IFLA_MAX;
		fixed = sizeof(struct ifinfomsg);
		wanted = IFLA_MTU;
		break;
	default:
		return MNL_CB_OK;
	}
	if (mnl_attr_parse(header, fixed, note, &index) < 0)
		return MNL_CB_ERROR;
	counts->messages++;
	if (index.of[wanted])
		counts->value += mnl_attr_get_u32(index.of[wanted]);
	return MNL_CB_OK;
}

int library_parse(const void *messages, size_t length, struct counts *counts)
{
	return mnl_cb_run(messages, length, 0, 0, one, counts) < 0 ? -errno : 0;
}

int library_dump(struct counts *counts)
{
	struct mnl_socket *socket = mnl_socket_open(NETLINK_ROUTE);
	char *room = malloc(MNL_SOCKET_DUMP_SIZE);
	struct nlmsghdr *header = mnl_nlmsg_put_header(room);
	unsigned int seq = time(NULL), portid;
	struct rtmsg *route;
	ssize_t got = -1;
	int more = MNL_CB_ERROR;

	header->nlmsg_type = RTM_GETROUTE;
	header->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	header->nlmsg_seq = seq;
	route = mnl_nlmsg_put_extra_header(header, sizeof(*route));
	route->rtm_family = AF_INET;
	if (socket && mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) == 0) {
		portid = mnl_socket_get_portid(socket);
		got = mnl_socket_sendto(socket, header, header->nlmsg_len);
		while (got > 0) {
			got = mnl_socket_recvfrom(socket, room, MNL_SOCKET_DUMP_SIZE);
			if (got > 0)
				more = mnl_cb_run(room, got, seq, portid, one, counts);
			if (more <= MNL_CB_STOP)
				break;
		}
	}
	got = got < 0 || more == MNL_CB_ERROR ? -errno : 0;
	free(room);
	if (socket)
		mnl_socket_close(socket);
	return got;
}

void *library_open(int buffer)
{
	struct mnl_socket *socket = mnl_socket_open(NETLINK_ROUTE);

	if (socket)
		enlarge(mnl_socket_get_fd(socket), buffer);
	if (socket && mnl_socket_bind(socket, RTMGRP_IPV4_ROUTE, MNL_SOCKET_AUTOPID) < 0) {
		mnl_socket_close(socket);
		return NULL;
	}
	return socket;
}

int library_listen(void *data, int stop, int quiet_ms, struct counts *counts)
{
	struct mnl_socket *socket = data;
	struct pollfd ears[2] = { { mnl_socket_get_fd(socket), POLLIN, 0 }, { stop, POLLIN, 0 } };
	char room[MNL_SOCKET_BUFFER_SIZE];
	int result = 0, over = 0;

	while (result == 0) {
		int ready = poll(ears, over ? 1 : 2, over ? quiet_ms : -1);
		ssize_t got;

		if (ready == 0 || (ready < 0 && errno != EINTR))
			break;
		over = over || ears[1].revents;
		if (!ears[0].revents)
			continue;
		got = mnl_socket_recvfrom(socket, room, sizeof(room));
		if (got < 0 && errno == ENOBUFS)
			counts->overruns++;
		else if (got < 0 || mnl_cb_run(room, got, 0, 0, one, counts) < 0)
			result = -errno;
	}
	mnl_socket_close(socket);
	return result;
}
