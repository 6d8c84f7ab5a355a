"""NET_DM: packets that the kernel drops, with the place and the reason.

The monitor is one for the whole kernel: who listens first starts it, and whoever closes stops it for all.
"""

import errno
import struct
from collections.abc import Mapping

from nlbus.kernel.constants import MessageFlag
from nlbus.kernel.requests import Reply, attribute
from nlbus.schema.schema import Attr, Nest, Schema, ignored
from nlbus.schema.types import BYTES, NAME, U16, U32, U64
from nlbus.sources.genl.families import HEADER, answer, family_source, reports, request
from nlbus.sources.source import Handshake, Option

VERSION = 2
CONFIG, START, STOP, PACKET_ALERT = 2, 3, 4, 5
ALERT_MODE, TRUNC_LEN, QUEUE_LEN = 1, 9, 11
MODE_PACKET = 1
LONGEST = 65535


def _join(group: int, options: Mapping[str, float], seq: int) -> bytes:
    body = attribute(ALERT_MODE, bytes([MODE_PACKET]))
    body += attribute(TRUNC_LEN, struct.pack("=I", int(options["copy_range"])))
    body += attribute(QUEUE_LEN, struct.pack("=I", int(options["queue"])))
    # While the monitor runs for somebody else, the kernel refuses this; it counts if START succeeds.
    config = request(CONFIG, body, 0, VERSION, flags=MessageFlag(0))
    return config + request(START, b"", seq, VERSION)


def _leave(group: int, seq: int) -> bytes:
    return request(STOP, b"", seq, VERSION, flags=MessageFlag(0))


def _answer(reply: Reply, seq: int) -> int | None:
    found = answer(reply, seq)
    return 0 if found == errno.EAGAIN else found  # it runs already


SOURCE = family_source(
    "NET_DM",
    (
        Schema(
            name="drop",
            ops=reports(new=PACKET_ALERT),
            header=HEADER,
            prefix="NET_DM_ATTR_",
            entries=(
                Attr("NET_DM_ATTR_REASON", 23, NAME),
                Attr("NET_DM_ATTR_SYMBOL", 3, NAME),
                Attr("NET_DM_ATTR_PC", 2, U64, display="hex"),
                Nest(
                    "NET_DM_ATTR_IN_PORT",
                    4,
                    "NET_DM_ATTR_PORT_NETDEV_",
                    (
                        Attr("NET_DM_ATTR_PORT_NETDEV_IFINDEX", 0, U32, display="interface"),
                        Attr("NET_DM_ATTR_PORT_NETDEV_NAME", 1, NAME),
                    ),
                ),
                Attr("NET_DM_ATTR_TIMESTAMP", 5, U64, unit="ns", display="time"),
                Attr("NET_DM_ATTR_PROTO", 6, U16, display="hex"),
                Attr("NET_DM_ATTR_ORIG_LEN", 10, U32, unit="bytes"),
                Attr("NET_DM_ATTR_ORIGIN", 14, U16, enum={0: "sw", 1: "hw"}),
                Attr("NET_DM_ATTR_HW_TRAP_GROUP_NAME", 15, NAME),
                Attr("NET_DM_ATTR_HW_TRAP_NAME", 16, NAME),
                Attr("NET_DM_ATTR_FLOW_ACTION_COOKIE", 22, BYTES),
                Attr("NET_DM_ATTR_PAYLOAD", 7, BYTES),
                *ignored("NET_DM_ATTR_", PAD=8, TRUNC_LEN=9, HW_TRAP_COUNT=19),
            ),
            words={"dev": "in_port_ifindex"},
            groups=("events",),
            about="dropped packets: where, why, and their first bytes from the hardware header on",
        ),
    ),
    handshake=Handshake(
        join=_join, leave=_leave, answer=_answer, silence="is the module drop_monitor loaded?"
    ),
    options={
        "copy_range": Option(128, 1, LONGEST, "bytes of each packet to copy"),
        "queue": Option(1000, 1, 1 << 20, "packets that may wait in the kernel, per CPU"),
    },
    option="CONFIG_NET_DROP_MONITOR",
    module="drop_monitor",
    note="one monitor for the whole kernel: closing stops it for all listeners; reasons are of Linux 5.18",
    example="nlbus listen genl:NET_DM --option copy_range=64",
)
