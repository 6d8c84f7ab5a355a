"""The virtual functions of a link (SR-IOV): a list per column, an item per function. Only dumps have them."""

from nlbus.schema.naming import numbered
from nlbus.schema.schema import Entry, Struct, ignored
from nlbus.schema.types import U32, Field, fixed, pad


def _setting(kernel: str, number: int, name: str) -> Struct:
    """A struct of the function's number and a setting, which not every driver knows."""
    return Struct(kernel, number, (pad(4), Field(name, U32, absent=-1)), column="-")


VIRTUAL_FUNCTION: tuple[Entry, ...] = (
    Struct("IFLA_VF_MAC", 1, (Field("number", U32), Field("mac", fixed(6, "mac")), pad(26)), column="-"),
    Struct("IFLA_VF_VLAN", 2, (pad(4), Field("vlan", U32), Field("vlan_qos", U32)), column="-"),
    _setting("IFLA_VF_SPOOFCHK", 4, "spoofchk"),
    Struct(
        "IFLA_VF_LINK_STATE",
        5,
        (pad(4), Field("link_state", U32, enum=numbered("auto enable disable"))),
        column="-",
    ),
    Struct(
        "IFLA_VF_RATE",
        6,
        (pad(4), Field("min_tx_rate", U32, "Mbit/s"), Field("max_tx_rate", U32, "Mbit/s")),
        column="-",
    ),
    _setting("IFLA_VF_RSS_QUERY_EN", 7, "rss_query_en"),
    _setting("IFLA_VF_TRUST", 9, "trust"),
    *ignored("IFLA_VF_", TX_RATE=3, STATS=8, IB_NODE_GUID=10, IB_PORT_GUID=11, VLAN_LIST=12, BROADCAST=13),
)
