"""mptcp_pm: connections and subflows of multipath TCP as they come and go, and the endpoints of this host."""

from nlbus.schema.schema import Attr, Dump, Nest, Op, Schema
from nlbus.schema.types import ADDRESS, BE16, S32, U8, U16, U32, Field, pad
from nlbus.sources.genl.families import GENLMSGHDR, HEADER, NO_FAMILY, family_source, reports

VERSION = 1
MPTCP_PM_CMD_GET_ADDR = 3
ENDPOINTS = 0x6D70  # seq of the dump, whose answers have the number of the event "closed"
FAMILIES = {2: "inet", 10: "inet6"}
FLAGS = {1: "signal", 2: "subflow", 4: "backup", 8: "fullmesh", 16: "implicit", 32: "laminar"}
EVENTS = {
    1: "created", 2: "established", 3: "closed", 6: "announced", 7: "removed", 10: "sf_established",
    11: "sf_closed", 13: "sf_prio", 15: "listener_created", 16: "listener_closed",
}  # fmt: skip

ENDPOINT = Schema(
    name="endpoint",
    ops=(Op(NO_FAMILY, "new", seq=ENDPOINTS, command=MPTCP_PM_CMD_GET_ADDR),),
    header=HEADER,
    prefix="MPTCP_PM_ATTR_",
    entries=(
        Nest(
            "MPTCP_PM_ATTR_ADDR",
            1,
            "MPTCP_PM_ADDR_ATTR_",
            (
                Attr("MPTCP_PM_ADDR_ATTR_ID", 2, U8),
                Attr("MPTCP_PM_ADDR_ATTR_ADDR4", 3, ADDRESS, column="addr"),
                Attr("MPTCP_PM_ADDR_ATTR_ADDR6", 4, ADDRESS, column="addr"),
                Attr("MPTCP_PM_ADDR_ATTR_PORT", 5, U16),
                Attr("MPTCP_PM_ADDR_ATTR_FLAGS", 6, U32, flags=FLAGS),
                Attr("MPTCP_PM_ADDR_ATTR_IF_IDX", 7, S32, display="interface"),
                Attr("MPTCP_PM_ADDR_ATTR_FAMILY", 1, U16, enum=FAMILIES),
            ),
            column="-",
        ),
    ),
    words={"dev": "if_idx"},
    dump=Dump(NO_FAMILY, (GENLMSGHDR.pack(MPTCP_PM_CMD_GET_ADDR, VERSION),), seq=ENDPOINTS),
    about="addresses that this host uses for multipath TCP",
)

EVENT = Schema(
    name="event",
    ops=reports(new=(1, 6, 10, 15), change=(2, 13), delete=(3, 7, 11, 16)),
    header=(Field("event", U8, enum=EVENTS), pad(3)),
    prefix="MPTCP_ATTR_",
    entries=(
        Attr("MPTCP_ATTR_TOKEN", 1, U32, display="hex"),
        Attr("MPTCP_ATTR_FAMILY", 2, U16, enum=FAMILIES),
        Attr("MPTCP_ATTR_LOC_ID", 3, U8),
        Attr("MPTCP_ATTR_REM_ID", 4, U8),
        Attr("MPTCP_ATTR_SADDR4", 5, ADDRESS, column="saddr"),
        Attr("MPTCP_ATTR_SADDR6", 6, ADDRESS, column="saddr"),
        Attr("MPTCP_ATTR_DADDR4", 7, ADDRESS, column="daddr"),
        Attr("MPTCP_ATTR_DADDR6", 8, ADDRESS, column="daddr"),
        Attr("MPTCP_ATTR_SPORT", 9, BE16),
        Attr("MPTCP_ATTR_DPORT", 10, BE16),
        Attr("MPTCP_ATTR_BACKUP", 11, U8),
        Attr("MPTCP_ATTR_ERROR", 12, U8),
        Attr("MPTCP_ATTR_FLAGS", 13, U16, flags={1: "deny_join_id0", 2: "server_side"}),
        Attr("MPTCP_ATTR_TIMEOUT", 14, U32),
        Attr("MPTCP_ATTR_IF_IDX", 15, S32, display="interface"),
        Attr("MPTCP_ATTR_RESET_REASON", 16, U32),
        Attr("MPTCP_ATTR_RESET_FLAGS", 17, U32),
        Attr("MPTCP_ATTR_SERVER_SIDE", 18, U8),
    ),
    words={"src": "saddr", "dst": "daddr", "dev": "if_idx"},
    groups=("mptcp_pm_events",),
    about="connections, subflows, announced addresses and listeners of multipath TCP",
)

SOURCE = family_source(
    "mptcp_pm",
    (ENDPOINT, EVENT),
    option="CONFIG_MPTCP",
    note="the group mptcp_pm_cmds carries nothing yet; mptcp_pm_events needs CAP_NET_ADMIN",
    example="nlbus listen genl:mptcp_pm",
)
