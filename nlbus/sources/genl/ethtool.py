"""ethtool: settings of network devices, when `ethtool` or a driver changes them, and as they are."""

import struct
from collections.abc import Iterator, Mapping, Sequence

from nlbus.kernel.requests import attribute
from nlbus.schema.schema import Attr, Entry, List, Nest, Schema, ignored
from nlbus.schema.types import BYTES, NAME, U8, U32, U64, Display, Type
from nlbus.sources.genl.families import HEADER, dump, family_source, reports

HEADER_FLAGS = 3
COMPACT_BITSETS = struct.pack("=I", 1)
NESTED = 1 << 15  # NLA_F_NESTED
DUPLEX = {0: "half", 1: "full", 0xFF: "unknown"}
PORT = {0: "tp", 1: "aui", 2: "mii", 3: "fibre", 4: "bnc", 5: "da", 0xEF: "none", 0xFF: "other"}
MDIX = {0: "invalid", 1: "mdi", 2: "mdix", 3: "auto"}
MASTER_SLAVE = {0: "unsupported", 1: "unknown", 2: "master_preferred", 3: "slave_preferred",
                4: "master_force", 5: "slave_force"}  # fmt: skip
MASTER_SLAVE_STATE = {0: "unsupported", 1: "unknown", 2: "master", 3: "slave", 4: "error"}
RATE_MATCHING = {0: "none", 1: "pause", 2: "crs", 3: "open_loop"}
SPLIT = {0: "unknown", 1: "disabled", 2: "enabled"}
EXT_STATE = {
    0: "autoneg", 1: "link_training_failure", 2: "link_logical_mismatch", 3: "bad_signal_integrity",
    4: "no_cable", 5: "cable_issue", 6: "eeprom_issue", 7: "calibration_failure", 8: "power_budget_exceeded",
    9: "overheat", 10: "module",
}  # fmt: skip
WAKE = {
    1: "phy",
    2: "ucast",
    4: "mcast",
    8: "bcast",
    16: "arp",
    32: "magic",
    64: "magicsecure",
    128: "filter",
}
MESSAGES = {
    1 << bit: name
    for bit, name in enumerate(
        ("drv", "probe", "link", "timer", "ifdown", "ifup", "rx_err", "tx_err", "tx_queued", "intr",
         "tx_done", "rx_status", "pktdata", "hw", "wol")
    )
}  # fmt: skip
WORDS = {"ifindex": "dev_index", "ifname": "dev_name", "dev": "dev_name"}
GROUP = "monitor"


def _table(name: str, get: int, replies: Sequence[int], entries: Sequence[Entry], about: str) -> Schema:
    """A table of the command `get`, of its reply, and of its notification if it has one."""
    prefix = f"ETHTOOL_A_{name.upper()}_"
    reply, *notified = replies
    device = Nest(
        f"{prefix}HEADER",
        1,
        "ETHTOOL_A_HEADER_",
        (
            Attr("ETHTOOL_A_HEADER_DEV_INDEX", 1, U32, display="interface"),
            Attr("ETHTOOL_A_HEADER_DEV_NAME", 2, NAME),
            *ignored("ETHTOOL_A_HEADER_", FLAGS=3),
            Attr("ETHTOOL_A_HEADER_PHY_INDEX", 4, U32),
        ),
        column="-",
    )
    # As in notifications, sets of bits are words of 32.
    compact = attribute(1 | NESTED, attribute(HEADER_FLAGS, COMPACT_BITSETS))
    return Schema(
        name=name,
        ops=reports(new=reply, change=notified),
        header=HEADER,
        prefix=prefix,
        entries=(device, *entries),
        words=WORDS,
        groups=(GROUP,) if notified else (),
        dump=dump(get, body=compact),
        about=about,
    )


def _numbers(prefix: str, first: int, names: str, type: Type = U32, unit: str = "") -> Iterator[Attr]:
    for number, name in enumerate(names.split(), first):
        yield Attr(f"{prefix}{name}", number, type, unit=unit)


def _bits(kernel: str, number: int, flags: Mapping[int, str] | None = None) -> Nest:
    """A set of bits: a list of words with the bits that are set, and one with those that exist."""
    display: Display = "" if flags else "hex"
    return Nest(
        kernel,
        number,
        "ETHTOOL_A_BITSET_",
        (
            *ignored("ETHTOOL_A_BITSET_", NOMASK=1, SIZE=2, BITS=3),
            List("ETHTOOL_A_BITSET_VALUE", 4, U32, flags=flags, display=display, column="-"),
            List("ETHTOOL_A_BITSET_MASK", 5, U32, flags=flags, display=display),
        ),
    )


LINKINFO = _table(
    "linkinfo",
    2,
    (2, 3),
    (
        Attr("ETHTOOL_A_LINKINFO_PORT", 2, U8, enum=PORT),
        Attr("ETHTOOL_A_LINKINFO_PHYADDR", 3, U8),
        Attr("ETHTOOL_A_LINKINFO_TP_MDIX", 4, U8, enum=MDIX),
        Attr("ETHTOOL_A_LINKINFO_TP_MDIX_CTRL", 5, U8, enum=MDIX),
        Attr("ETHTOOL_A_LINKINFO_TRANSCEIVER", 6, U8, enum={0: "internal", 1: "external"}),
    ),
    "the port and the transceiver of a device",
)

LINKMODES = _table(
    "linkmodes",
    4,
    (4, 5),
    (
        Attr("ETHTOOL_A_LINKMODES_SPEED", 5, U32, unit="Mbit/s"),
        Attr("ETHTOOL_A_LINKMODES_DUPLEX", 6, U8, enum=DUPLEX),
        Attr("ETHTOOL_A_LINKMODES_AUTONEG", 2, U8),
        _bits("ETHTOOL_A_LINKMODES_OURS", 3),
        _bits("ETHTOOL_A_LINKMODES_PEER", 4),
        Attr("ETHTOOL_A_LINKMODES_MASTER_SLAVE_CFG", 7, U8, enum=MASTER_SLAVE),
        Attr("ETHTOOL_A_LINKMODES_MASTER_SLAVE_STATE", 8, U8, enum=MASTER_SLAVE_STATE),
        Attr("ETHTOOL_A_LINKMODES_LANES", 9, U32),
        Attr("ETHTOOL_A_LINKMODES_RATE_MATCHING", 10, U8, enum=RATE_MATCHING),
    ),
    "speed, duplex and link modes; an unknown speed is 4294967295",
)

LINKSTATE = _table(
    "linkstate",
    6,
    (6,),
    (
        Attr("ETHTOOL_A_LINKSTATE_LINK", 2, U8, enum={0: "down", 1: "up"}),
        *_numbers("ETHTOOL_A_LINKSTATE_", 3, "SQI SQI_MAX"),
        Attr("ETHTOOL_A_LINKSTATE_EXT_STATE", 5, U8, enum=EXT_STATE),
        Attr("ETHTOOL_A_LINKSTATE_EXT_SUBSTATE", 6, U8),
        Attr("ETHTOOL_A_LINKSTATE_EXT_DOWN_CNT", 7, U32),
    ),
    "whether a device has link, and why not",
)

DEBUG = _table(
    "debug", 7, (7, 8), (_bits("ETHTOOL_A_DEBUG_MSGMASK", 2, MESSAGES),), "what a driver writes to the log"
)

WOL = _table(
    "wol",
    9,
    (9, 10),
    (_bits("ETHTOOL_A_WOL_MODES", 2, WAKE), Attr("ETHTOOL_A_WOL_SOPASS", 3, BYTES)),
    "wake-on-LAN; the password only for CAP_NET_ADMIN",
)

FEATURES = _table(
    "features",
    11,
    (11, 13),
    (
        _bits("ETHTOOL_A_FEATURES_HW", 2),
        _bits("ETHTOOL_A_FEATURES_WANTED", 3),
        _bits("ETHTOOL_A_FEATURES_ACTIVE", 4),
        _bits("ETHTOOL_A_FEATURES_NOCHANGE", 5),
    ),
    "offloads, as bits: `ethtool -k` names them",
)

RINGS = _table(
    "rings",
    15,
    (16, 17),
    (
        *_numbers(
            "ETHTOOL_A_RINGS_", 2, "RX_MAX RX_MINI_MAX RX_JUMBO_MAX TX_MAX RX RX_MINI RX_JUMBO TX RX_BUF_LEN"
        ),
        Attr("ETHTOOL_A_RINGS_TCP_DATA_SPLIT", 11, U8, enum=SPLIT),
        Attr("ETHTOOL_A_RINGS_CQE_SIZE", 12, U32, unit="bytes"),
        *_numbers("ETHTOOL_A_RINGS_", 13, "TX_PUSH RX_PUSH", U8),
        *_numbers(
            "ETHTOOL_A_RINGS_",
            15,
            "TX_PUSH_BUF_LEN TX_PUSH_BUF_LEN_MAX HDS_THRESH HDS_THRESH_MAX",
            U32,
            "bytes",
        ),
    ),
    "sizes of the rings of a device",
)

CHANNELS = _table(
    "channels",
    17,
    (18, 19),
    tuple(
        _numbers(
            "ETHTOOL_A_CHANNELS_",
            2,
            "RX_MAX TX_MAX OTHER_MAX COMBINED_MAX RX_COUNT TX_COUNT OTHER_COUNT COMBINED_COUNT",
        )
    ),
    "numbers of channels of a device",
)

COALESCE = _table(
    "coalesce",
    19,
    (20, 21),
    (
        *_numbers(
            "ETHTOOL_A_COALESCE_",
            2,
            "RX_USECS RX_MAX_FRAMES RX_USECS_IRQ RX_MAX_FRAMES_IRQ TX_USECS TX_MAX_FRAMES TX_USECS_IRQ "
            "TX_MAX_FRAMES_IRQ STATS_BLOCK_USECS",
        ),
        *_numbers("ETHTOOL_A_COALESCE_", 11, "USE_ADAPTIVE_RX USE_ADAPTIVE_TX", U8),
        *_numbers(
            "ETHTOOL_A_COALESCE_",
            13,
            "PKT_RATE_LOW RX_USECS_LOW RX_MAX_FRAMES_LOW TX_USECS_LOW TX_MAX_FRAMES_LOW PKT_RATE_HIGH "
            "RX_USECS_HIGH RX_MAX_FRAMES_HIGH TX_USECS_HIGH TX_MAX_FRAMES_HIGH RATE_SAMPLE_INTERVAL",
        ),
        *_numbers("ETHTOOL_A_COALESCE_", 24, "USE_CQE_MODE_TX USE_CQE_MODE_RX", U8),
        *_numbers("ETHTOOL_A_COALESCE_", 26, "TX_AGGR_MAX_BYTES TX_AGGR_MAX_FRAMES TX_AGGR_TIME_USECS"),
        *ignored("ETHTOOL_A_COALESCE_", RX_PROFILE=29, TX_PROFILE=30),
        *_numbers("ETHTOOL_A_COALESCE_", 31, "RX_CQE_FRAMES RX_CQE_NSECS"),
    ),
    "when a device interrupts for its packets",
)

PAUSE = _table(
    "pause",
    21,
    (22, 23),
    (
        *_numbers("ETHTOOL_A_PAUSE_", 2, "AUTONEG RX TX", U8),
        Nest(
            "ETHTOOL_A_PAUSE_STATS",
            5,
            "ETHTOOL_A_PAUSE_STAT_",
            (
                *ignored("ETHTOOL_A_PAUSE_STAT_", PAD=1),
                *_numbers("ETHTOOL_A_PAUSE_STAT_", 2, "TX_FRAMES RX_FRAMES TX_PAUSE_STORM_EVENTS", U64),
            ),
        ),
        Attr("ETHTOOL_A_PAUSE_STATS_SRC", 6, U32, enum={0: "aggregate", 1: "emac", 2: "pmac"}),
    ),
    "flow control by pause frames",
)

EEE = _table(
    "eee",
    23,
    (24, 25),
    (
        _bits("ETHTOOL_A_EEE_MODES_OURS", 2),
        _bits("ETHTOOL_A_EEE_MODES_PEER", 3),
        *_numbers("ETHTOOL_A_EEE_", 4, "ACTIVE ENABLED TX_LPI_ENABLED", U8),
        Attr("ETHTOOL_A_EEE_TX_LPI_TIMER", 7, U32, unit="us"),
    ),
    "energy-efficient Ethernet",
)

SOURCE = family_source(
    "ethtool",
    (LINKINFO, LINKMODES, LINKSTATE, DEBUG, WOL, FEATURES, RINGS, CHANNELS, COALESCE, PAUSE, EEE),
    option="CONFIG_ETHTOOL_NETLINK",
    note="the kernel reports what is set, not that a link comes up: table link of route has that",
    example="nlbus listen genl:ethtool",
)
