"""<linux/netlink.h>: the message header, the attribute header, the address."""

from libc.stdint cimport int32_t, uint16_t, uint32_t


cdef extern from "<linux/netlink.h>" nogil:
    """
    _Static_assert(sizeof(struct nlmsghdr) == 16, "nlmsghdr");
    _Static_assert(sizeof(struct nlattr) == 4, "nlattr");
    _Static_assert(sizeof(struct sockaddr_nl) == 12, "sockaddr_nl");
    """
    struct nlmsghdr:
        uint32_t nlmsg_len
        uint16_t nlmsg_type
        uint16_t nlmsg_flags
        uint32_t nlmsg_seq
        uint32_t nlmsg_pid

    struct nlattr:
        uint16_t nla_len
        uint16_t nla_type

    struct sockaddr_nl:
        unsigned short nl_family
        unsigned short nl_pad
        uint32_t nl_pid
        uint32_t nl_groups

    struct nl_pktinfo:
        uint32_t group

    enum:
        NETLINK_USERSOCK
        NETLINK_ADD_MEMBERSHIP
        NETLINK_DROP_MEMBERSHIP
        NETLINK_PKTINFO
        NETLINK_NO_ENOBUFS
        NETLINK_LISTEN_ALL_NSID
        NETLINK_EXT_ACK
        NETLINK_GET_STRICT_CHK
        NETLINK_BROADCAST_ERROR
        NETLINK_CAP_ACK
        NETLINK_KOBJECT_UEVENT
        NLA_F_NESTED
        NLA_F_NET_BYTEORDER
        NLA_TYPE_MASK
        NLM_F_REQUEST
        NLM_F_ACK
        NLMSG_ERROR
