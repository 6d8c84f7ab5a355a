"""Names of message types, as <linux/rtnetlink.h> has them."""

RTM_BASE = 16
VERBS = ("NEW", "DEL", "GET", "SET")
# Four types a kind: new, delete, get, set.
KINDS = (
    "LINK", "ADDR", "ROUTE", "NEIGH", "RULE", "QDISC", "TCLASS", "TFILTER", "ACTION", "PREFIX", "MULTICAST",
    "ANYCAST", "NEIGHTBL", "NDUSEROPT", "ADDRLABEL", "DCB", "NETCONF", "MDB", "NSID", "STATS", "CACHEREPORT",
    "CHAIN", "NEXTHOP", "LINKPROP", "VLAN", "NEXTHOPBUCKET", "TUNNEL",
)  # fmt: skip
CONTROL = {1: "NLMSG_NOOP", 2: "NLMSG_ERROR", 3: "NLMSG_DONE", 4: "NLMSG_OVERRUN"}


def message_type(protocol: int, number: int) -> str | None:
    """The kernel's name of a message type on this protocol, or None."""
    if number in CONTROL:
        return CONTROL[number]
    kind = number - RTM_BASE >> 2
    if protocol == 0 and 0 <= kind < len(KINDS):
        return f"RTM_{VERBS[number & 3]}{KINDS[kind]}"
    return None
