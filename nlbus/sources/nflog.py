"""nflog: packets that a rule logs to a group, as in `nft add rule ... log group 5`.

Its groups are no multicast groups: one socket at a time binds a group and receives its packets. Their numbers
begin with 0, the default of iptables, ulogd and tcpdump. Here group 0 has the number 65536 and the name "0".
"""

import struct
from collections.abc import Mapping
from socket import htons

from nlbus.kernel.constants import MessageFlag
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import NFGENMSG, attribute
from nlbus.schema.schema import Attr, Op, Schema
from nlbus.schema.types import BE16, BE32, BYTES, NAME
from nlbus.sources.netfilter import (
    COPY_RANGE_MAX,
    GROUP_0,
    NETFILTER,
    UNUSED,
    WORDS,
    answer,
    config,
    header,
    packet_entries,
    packet_header,
)
from nlbus.sources.source import Handshake, Option, Source

NFNL_SUBSYS_ULOG = 4
NFULNL_MSG_PACKET, NFULNL_MSG_CONFIG = (NFNL_SUBSYS_ULOG << 8 | n for n in (0, 1))
CFG_CMD, CFG_MODE, CFG_NLBUFSIZ, CFG_TIMEOUT, CFG_QTHRESH, CFG_FLAGS = range(1, 7)
CMD_BIND, CMD_UNBIND = 1, 2
COPY_META, COPY_PACKET = 1, 2
F_SEQ = 1  # packets are numbered, so that gaps show

# The kernel collects packets in a buffer of up to this size; its default is 4 KiB. This fills a slab of
# 32 KiB; a larger buffer would cost the receive buffer twice as much.
NLBUFSIZ = 32448


def _bind(group: int, options: Mapping[str, float], seq: int) -> bytes:
    copy_range, threshold = int(options["copy_range"]), int(options["threshold"])
    # To the kernel, a range of 0 means everything; copying nothing is a mode of its own.
    mode = COPY_PACKET if copy_range else COPY_META
    body = attribute(CFG_CMD, bytes([CMD_BIND]))
    body += attribute(CFG_MODE, struct.pack(">IBx", copy_range, mode))
    body += attribute(CFG_TIMEOUT, struct.pack(">I", round(options["timeout"] * 100)))
    body += attribute(CFG_QTHRESH, struct.pack(">I", threshold))
    body += attribute(CFG_FLAGS, struct.pack(">H", F_SEQ))
    if threshold > 1:
        body += attribute(CFG_NLBUFSIZ, struct.pack(">I", NLBUFSIZ))
    return config(NFULNL_MSG_CONFIG, group, body, MessageFlag.REQUEST | MessageFlag.ACK, seq)


def _unbind(group: int, seq: int) -> bytes:
    body = attribute(CFG_CMD, bytes([CMD_UNBIND]))
    return config(NFULNL_MSG_CONFIG, group, body, MessageFlag.REQUEST, seq)


# Columns in the order of their use.
ENTRIES = (
    packet_header("NFULA_"),
    Attr("NFULA_PREFIX", 10, NAME),
    *packet_entries(
        "NFULA_",
        {
            "IFINDEX_INDEV": 4, "IFINDEX_OUTDEV": 5, "IFINDEX_PHYSINDEV": 6, "IFINDEX_PHYSOUTDEV": 7,
            "MARK": 2, "TIMESTAMP": 3, "UID": 11, "GID": 14, "HWADDR": 8, "CT": 18, "CT_INFO": 19,
            "VLAN": 20, "L2HDR": 21,
        } | {"PAYLOAD": 9},
    ),
    Attr("NFULA_SEQ", 12, BE32),
    Attr("NFULA_SEQ_GLOBAL", 13, BE32),
    Attr("NFULA_HWTYPE", 15, BE16),
    Attr("NFULA_HWHEADER", 16, BYTES),
    Attr("NFULA_HWLEN", 17, BE16, unit="bytes"),
)  # fmt: skip


NFLOG = Source(
    name="nflog",
    protocol=NETFILTER,
    kernel_name="NETLINK_NETFILTER",
    framing="nlmsg",
    groups={"0": GROUP_0},
    default=Groups(GROUP_0),
    highest=GROUP_0,
    schemas=(
        Schema(
            name="packet",
            ops=(Op(NFULNL_MSG_PACKET, "new"),),
            header=header("group"),
            prefix="NFULA_",
            entries=ENTRIES,
            words=WORDS,
            about="packets that a rule logs, with the fields of their headers",
        ),
    ),
    membership=False,
    handshake=Handshake(join=_bind, leave=_unbind, answer=answer),
    options={
        "copy_range": Option(COPY_RANGE_MAX, 0, COPY_RANGE_MAX, "bytes of each packet to copy"),
        "threshold": Option(1, 1, 65536, "packets to gather before they are sent"),
        "timeout": Option(1, 0.01, 3600, "seconds until gathered packets are sent anyway"),
    },
    types={NFULNL_MSG_PACKET: "NFULNL_MSG_PACKET", NFULNL_MSG_CONFIG: "NFULNL_MSG_CONFIG"},
    privileged=True,
    needs="binding needs CAP_NET_ADMIN over this network namespace (run as root, or under `unshare -Urn`) "
    "and a group that no other socket has bound",
    option="CONFIG_NETFILTER_NETLINK_LOG",
    module="nfnetlink_log",
    # A request about an unused group: "no such device" if the kernel has nflog.
    ask=(NFULNL_MSG_CONFIG, NFGENMSG.pack(0, 0, htons(UNUSED))),
    note="groups 0 to 65535, one listener each, as named in rules: `log group 5`, `-j NFLOG --nflog-group 5`",
    example="nlbus listen nflog -g 5 --option copy_range=96",
)
