/* libnl, as its own tools use it: each message becomes an object (rtnl_route, rtnl_link) with accessors. */
#include "library.h"

#include <errno.h>
#include <poll.h>

#include <linux/rtnetlink.h>
#include <netlink/cache.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

static void object(struct nl_object *found, void *data)
{
	struct counts *counts = data;
	int type = nl_object_get_msgtype(found);

	counts->messages++;
	if (type == RTM_NEWROUTE || type == RTM_DELROUTE) {
		struct rtnl_route *route = (struct rtnl_route *)found;

		if (rtnl_route_get_nnexthops(route) > 0)
			counts->value += rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, 0));
	} else {
		counts->value += rtnl_link_get_mtu((struct rtnl_link *)found);
	}
}

static int one(struct nl_msg *message, void *data)
{
	int type = nlmsg_hdr(message)->nlmsg_type;

	if (type == RTM_NEWROUTE || type == RTM_DELROUTE || type == RTM_NEWLINK || type == RTM_DELLINK)
		return nl_msg_parse(message, object, data) < 0 ? NL_STOP : NL_OK;
	return NL_OK;
}

int library_parse(const void *messages, size_t length, struct counts *counts)
{
	struct nlmsghdr *header = (struct nlmsghdr *)messages;
	int left = length;

	/* As nl_recvmsgs() does: one nl_msg per message. */
	for (; nlmsg_ok(header, left); header = nlmsg_next(header, &left)) {
		struct nl_msg *message = nlmsg_convert(header);
		int result;

		if (!message)
			return -NLE_NOMEM;
		nlmsg_set_proto(message, NETLINK_ROUTE);
		result = one(message, counts);
		nlmsg_free(message);
		if (result != NL_OK)
			return -NLE_INVAL;
	}
	return 0;
}

int library_dump(struct counts *counts)
{
	struct nl_sock *socket = nl_socket_alloc();
	struct nl_cache *routes = NULL;
	int result = socket ? nl_connect(socket, NETLINK_ROUTE) : -NLE_NOMEM;

	if (result == 0)
		result = rtnl_route_alloc_cache(socket, AF_INET, 0, &routes);
	if (result == 0) {
		nl_cache_foreach(routes, object, counts);
		nl_cache_free(routes);
	}
	nl_socket_free(socket);
	return result;
}

void *library_open(int buffer)
{
	struct nl_sock *socket = nl_socket_alloc();

	if (!socket)
		return NULL;
	nl_socket_disable_seq_check(socket);
	if (nl_connect(socket, NETLINK_ROUTE) < 0 ||
	    nl_socket_add_membership(socket, RTNLGRP_IPV4_ROUTE) < 0) {
		nl_socket_free(socket);
		return NULL;
	}
	enlarge(nl_socket_get_fd(socket), buffer);
	return socket;
}

int library_listen(void *data, int stop, int quiet_ms, struct counts *counts)
{
	struct nl_sock *socket = data;
	struct pollfd ears[2] = { { nl_socket_get_fd(socket), POLLIN, 0 }, { stop, POLLIN, 0 } };
	int result = 0, over = 0;

	nl_socket_modify_cb(socket, NL_CB_VALID, NL_CB_CUSTOM, one, counts);
	while (result == 0) {
		int ready = poll(ears, over ? 1 : 2, over ? quiet_ms : -1);

		if (ready == 0 || (ready < 0 && errno != EINTR))
			break;
		over = over || ears[1].revents;
		if (!ears[0].revents)
			continue;
		result = nl_recvmsgs_default(socket);
		if (result == -NLE_NOMEM) { /* libnl's code for ENOBUFS */
			counts->overruns++;
			result = 0;
		}
	}
	nl_socket_free(socket);
	return result;
}
