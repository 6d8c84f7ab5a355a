"""The numbers of <linux/netlink.h> by the kernel's names, without their prefixes."""

from enum import IntEnum, IntFlag


class Protocol(IntEnum):
    """A `NETLINK_*` number: the third argument of socket(). 17 was never assigned."""

    ROUTE = 0
    UNUSED = 1
    USERSOCK = 2
    FIREWALL = 3
    SOCK_DIAG = 4
    NFLOG = 5
    XFRM = 6
    SELINUX = 7
    ISCSI = 8
    AUDIT = 9
    FIB_LOOKUP = 10
    CONNECTOR = 11
    NETFILTER = 12
    IP6_FW = 13
    DNRTMSG = 14
    KOBJECT_UEVENT = 15
    GENERIC = 16
    SCSITRANSPORT = 18
    ECRYPTFS = 19
    RDMA = 20
    CRYPTO = 21
    SMC = 22


class MessageType(IntEnum):
    """A `NLMSG_*` type, the same on every protocol; from MIN_TYPE on, types are the protocol's own."""

    NOOP = 1
    ERROR = 2
    DONE = 3
    OVERRUN = 4
    MIN_TYPE = 0x10


# From 0x100 on, a bit's meaning depends on the kind of message: hence a class per kind. All are `NLM_F_*`.
class MessageFlag(IntFlag):
    """Flags of any message."""

    REQUEST = 0x01
    MULTI = 0x02
    ACK = 0x04
    ECHO = 0x08
    DUMP_INTR = 0x10
    DUMP_FILTERED = 0x20


class GetFlag(IntFlag):
    """Flags of a request to get."""

    ROOT = 0x100
    MATCH = 0x200
    ATOMIC = 0x400
    DUMP = 0x300


class NewFlag(IntFlag):
    """Flags of a request to create, and of the notification of a new object."""

    REPLACE = 0x100
    EXCL = 0x200
    CREATE = 0x400
    APPEND = 0x800


class DeleteFlag(IntFlag):
    """Flags of a request to delete."""

    NONREC = 0x100
    BULK = 0x200


class AckFlag(IntFlag):
    """Flags of an ack."""

    CAPPED = 0x100
    ACK_TLVS = 0x200
