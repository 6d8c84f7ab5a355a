"""nfqueue: packets that a rule hands over, as in `iptables -j NFQUEUE --queue-num 5` or nft's `queue to 5`.

They wait in the kernel until the listener decides: Subscriber.verdict. As those of nflog, the groups are no
multicast groups: one socket at a time binds a queue. Queue 0 has the number 65536 and the name "0".
"""

import struct
from collections.abc import Mapping
from socket import htons

from nlbus.kernel.constants import MessageFlag
from nlbus.kernel.groups import Groups
from nlbus.kernel.requests import NFGENMSG, attribute
from nlbus.schema.schema import Attr, Op, Schema, ignored
from nlbus.schema.types import BE32, TEXT, Field
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
from nlbus.sources.source import Answers, Handshake, Option, Source

NFNL_SUBSYS_QUEUE = 3
MSG_PACKET, MSG_VERDICT, MSG_CONFIG, MSG_VERDICT_BATCH = (NFNL_SUBSYS_QUEUE << 8 | n for n in range(4))
CFG_CMD, CFG_PARAMS, CFG_QUEUE_MAXLEN, CFG_MASK, CFG_FLAGS = range(1, 6)
CMD_BIND, CMD_UNBIND = 1, 2
COPY_META, COPY_PACKET = 1, 2
FLAGS = {"fail_open": 1, "conntrack": 2, "gso": 4, "uid_gid": 8, "secctx": 16}  # NFQA_CFG_F_*
SKB_INFO = {1: "csum_not_ready", 2: "gso", 4: "csum_not_verified"}  # NFQA_SKB_*


def _bind(queue: int, options: Mapping[str, float], seq: int) -> bytes:
    copy_range = int(options["copy_range"])
    mode = COPY_PACKET if copy_range else COPY_META
    body = attribute(CFG_CMD, struct.pack(">BxH", CMD_BIND, 0))
    body += attribute(CFG_PARAMS, struct.pack(">IB", copy_range, mode))
    body += attribute(CFG_QUEUE_MAXLEN, struct.pack(">I", int(options["queue_length"])))
    flags = sum(bit for name, bit in FLAGS.items() if options[name])
    body += _flags(flags)
    return config(MSG_CONFIG, queue, body, MessageFlag.REQUEST | MessageFlag.ACK, seq)


def _flags(flags: int) -> bytes:
    """Set flags. The kernel refuses any that it does not know, even to clear them."""
    return attribute(CFG_FLAGS, struct.pack(">I", flags)) + attribute(CFG_MASK, struct.pack(">I", flags))


def _unbind(queue: int, seq: int) -> bytes:
    body = attribute(CFG_CMD, struct.pack(">BxH", CMD_UNBIND, 0))
    return config(MSG_CONFIG, queue, body, MessageFlag.REQUEST, seq)


def _pass_all(queue: int) -> bytes:
    """From now on the queue is full, and packets pass where it is."""
    body = attribute(CFG_QUEUE_MAXLEN, bytes(4)) + _flags(FLAGS["fail_open"])
    return config(MSG_CONFIG, queue, body, MessageFlag.REQUEST, 0)


# Columns in the order of their use.
ENTRIES = (
    packet_header("NFQA_", Field("id", BE32)),
    *packet_entries(
        "NFQA_",
        {
            "IFINDEX_INDEV": 5, "IFINDEX_OUTDEV": 6, "IFINDEX_PHYSINDEV": 7, "IFINDEX_PHYSOUTDEV": 8,
            "MARK": 3, "TIMESTAMP": 4, "UID": 16, "GID": 17, "HWADDR": 9, "CT": 11, "CT_INFO": 12,
            "VLAN": 19, "L2HDR": 20,
        } | {"PAYLOAD": 10},
    ),
    Attr("NFQA_CAP_LEN", 13, BE32, unit="bytes"),
    Attr("NFQA_SKB_INFO", 14, BE32, flags=SKB_INFO),
    Attr("NFQA_SECCTX", 18, TEXT),
    Attr("NFQA_PRIORITY", 21, BE32, display="hex"),
    Attr("NFQA_CGROUP_CLASSID", 22, BE32, display="hex"),
    *ignored("NFQA_", EXP=15),
)  # fmt: skip


NFQUEUE = Source(
    name="nfqueue",
    protocol=NETFILTER,
    kernel_name="NETLINK_NETFILTER",
    framing="nlmsg",
    groups={"0": GROUP_0},
    default=Groups(GROUP_0),
    highest=GROUP_0,
    schemas=(
        Schema(
            name="packet",
            ops=(Op(MSG_PACKET, "new"),),
            header=header("queue"),
            prefix="NFQA_",
            entries=ENTRIES,
            words=WORDS,
            about="packets that wait for a verdict, with the fields of their headers",
        ),
    ),
    membership=False,
    handshake=Handshake(join=_bind, leave=_unbind, answer=answer),
    answers=Answers(
        packet=MSG_PACKET,
        one=MSG_VERDICT,
        many=MSG_VERDICT_BATCH,
        header=2,
        mark=3,
        payload=10,
        pass_all=_pass_all,
        counters="netfilter/nfnetlink_queue",
    ),
    options={
        "copy_range": Option(COPY_RANGE_MAX, 0, COPY_RANGE_MAX, "bytes of each packet to copy"),
        "queue_length": Option(16384, 1, 0xFFFF_FFFF, "packets that may wait; the kernel drops any more"),
        "fail_open": Option(0, 0, 1, "1: packets that find the queue full pass unseen instead"),
        "gso": Option(0, 0, 1, "1: large packets come whole, before they are divided; see skb_info"),
        "uid_gid": Option(1, 0, 1, "1: with the owner of the sending socket"),
        "conntrack": Option(
            0, 0, 1, "1: with the connection, where the kernel has NETFILTER_NETLINK_GLUE_CT"
        ),
        "secctx": Option(0, 0, 1, "1: with the security context of the sender"),
    },
    types={
        MSG_PACKET: "NFQNL_MSG_PACKET",
        MSG_VERDICT: "NFQNL_MSG_VERDICT",
        MSG_CONFIG: "NFQNL_MSG_CONFIG",
        MSG_VERDICT_BATCH: "NFQNL_MSG_VERDICT_BATCH",
    },
    privileged=True,
    needs="binding needs CAP_NET_ADMIN over this network namespace (run as root, or under `unshare -Urn`) "
    "and a queue that no other socket has bound",
    option="CONFIG_NETFILTER_NETLINK_QUEUE",
    module="nfnetlink_queue",
    # A request about an unused queue: "no such device" if the kernel has nfqueue.
    ask=(MSG_CONFIG, NFGENMSG.pack(0, 0, htons(UNUSED))),
    note="queues 0 to 65535, one listener each, as named in rules: `-j NFQUEUE --queue-num 5`, `queue to 5`. "
    "Packets wait for a verdict (Subscriber.verdict); commands accept all",
    example="nlbus listen nfqueue -g 5 --option copy_range=96",
)
