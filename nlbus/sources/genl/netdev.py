"""netdev: network devices as XDP sees them, their queues and NAPI instances."""

from nlbus.schema.schema import Attr, Schema, ignored
from nlbus.schema.types import U32, U64, UINT
from nlbus.sources.genl.families import HEADER, dump, family_source, reports

XDP_ACT = {1: "basic", 2: "redirect", 4: "ndo_xmit", 8: "xsk_zerocopy", 16: "hw_offload", 32: "rx_sg",
           64: "ndo_xmit_sg"}  # fmt: skip
RX_METADATA = {1: "timestamp", 2: "hash", 4: "vlan_tag"}
XSK = {1: "tx_timestamp", 2: "tx_checksum", 4: "tx_launch_time_fifo"}
DEV_GET, DEV_ADD, DEV_DEL, DEV_CHANGE, QUEUE_GET, NAPI_GET = 1, 2, 3, 4, 10, 11

SOURCE = family_source(
    "netdev",
    (
        Schema(
            name="dev",
            ops=reports(new=(DEV_GET, DEV_ADD), delete=DEV_DEL, change=DEV_CHANGE),
            header=HEADER,
            prefix="NETDEV_A_DEV_",
            entries=(
                Attr("NETDEV_A_DEV_IFINDEX", 1, U32, display="interface"),
                *ignored("NETDEV_A_DEV_", PAD=2),
                Attr("NETDEV_A_DEV_XDP_FEATURES", 3, U64, flags=XDP_ACT),
                Attr("NETDEV_A_DEV_XDP_ZC_MAX_SEGS", 4, U32),
                Attr("NETDEV_A_DEV_XDP_RX_METADATA_FEATURES", 5, U64, flags=RX_METADATA),
                Attr("NETDEV_A_DEV_XSK_FEATURES", 6, U64, flags=XSK),
            ),
            key=("ifindex",),
            words={"dev": "ifindex"},
            groups=("mgmt",),
            dump=dump(DEV_GET),
            about="network devices: what of XDP they can do",
        ),
        Schema(
            name="queue",
            ops=reports(new=QUEUE_GET),
            header=HEADER,
            prefix="NETDEV_A_QUEUE_",
            entries=(
                Attr("NETDEV_A_QUEUE_IFINDEX", 2, U32, display="interface"),
                Attr("NETDEV_A_QUEUE_TYPE", 3, U32, enum={0: "rx", 1: "tx"}),
                Attr("NETDEV_A_QUEUE_ID", 1, U32),
                Attr("NETDEV_A_QUEUE_NAPI_ID", 4, U32),
                *ignored("NETDEV_A_QUEUE_", DMABUF=5, IO_URING=6, XSK=7, LEASE=8),
            ),
            words={"dev": "ifindex"},
            dump=dump(QUEUE_GET),
            about="queues of network devices that are up",
        ),
        Schema(
            name="napi",
            ops=reports(new=NAPI_GET),
            header=HEADER,
            prefix="NETDEV_A_NAPI_",
            entries=(
                Attr("NETDEV_A_NAPI_IFINDEX", 1, U32, display="interface"),
                Attr("NETDEV_A_NAPI_ID", 2, U32),
                Attr("NETDEV_A_NAPI_IRQ", 3, U32),
                Attr("NETDEV_A_NAPI_PID", 4, U32),
                Attr("NETDEV_A_NAPI_DEFER_HARD_IRQS", 5, U32),
                Attr("NETDEV_A_NAPI_GRO_FLUSH_TIMEOUT", 6, UINT, unit="ns"),
                Attr("NETDEV_A_NAPI_IRQ_SUSPEND_TIMEOUT", 7, UINT, unit="ns"),
                Attr("NETDEV_A_NAPI_THREADED", 8, U32, enum={0: "disabled", 1: "enabled", 2: "busy_poll"}),
            ),
            words={"dev": "ifindex"},
            dump=dump(NAPI_GET),
            about="NAPI instances: which interrupt and thread polls which queues",
        ),
    ),
    example="nlbus listen genl:netdev",
)
