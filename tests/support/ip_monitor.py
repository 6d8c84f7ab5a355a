"""Rows of route's tables as lines of `ip -o -d monitor`, for comparison as a whole.

For links, the part after the addresses is left out: test_route_schemas.py compares it with `ip -j`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
ALL_ONES = 0xFFFF_FFFF


def words(*pairs: tuple[str, object]) -> str:
    return " ".join(f"{name} {value}" for name, value in pairs if value is not None)


def switch(value: int) -> str:
    return "on" if value else "off"


class Writer:
    """Writes rows in ip's format; link names come from the rows, where ip queries the kernel."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.names = {row["ifindex"]: row["ifname"] for row in rows if row["nl_table"] == "link"}

    def line(self, row: Row) -> str:
        """[LABEL]Deleted ..., in ip's format, normalised by `plain`."""
        table = row["nl_table"]
        writers: dict[str, Callable[[Row], str]] = {
            "link": self.link, "addr": self.addr, "route": self.route, "neigh": self.neigh, "rule": self.rule,
            "nexthop": self.nexthop, "netconf": self.netconf,
        }  # fmt: skip
        gone = "Deleted " if row["nl_op"] == "del" else ""
        return plain(f"[{table.upper()}]{gone}{writers[table](row)}")

    def link(self, row: Row) -> str:
        flags = {flag.upper() for flag in row["flags"]}
        if {"UP", "RUNNING"} & flags == {"UP"}:
            flags.add("NO-CARRIER")
        flags.discard("RUNNING")
        name = row["ifname"]
        if "link" in row:
            name += f"@{self.names.get(row['link'], 'NONE')}"
        group = "default" if row["group"] == 0 else row["group"]
        return (
            f"{row['ifindex']}: {name}: <{','.join(flags)}> mtu {row['mtu']} qdisc {row['qdisc']} "
            f"{words(('master', self.names.get(row.get('master', 0))))} state {row['operstate'].upper()} "
            f"group {group} link/{row['type']} {row['address']} brd {row['broadcast']}"
        )

    def addr(self, row: Row) -> str:
        address, local = row["address"], row.get("local", row["address"])
        to = f"{local} peer {address}" if local != address else address
        dynamic = "permanent" not in row["flags"]
        flags = [flag for flag in row["flags"] if flag != "permanent"] + ["dynamic"] * dynamic
        lives = [
            (name, "forever" if seconds == ALL_ONES else f"{seconds}sec")
            for name, seconds in (
                ("valid_lft", row["cacheinfo_valid"]),
                ("preferred_lft", row["cacheinfo_prefered"]),
            )
        ]
        return (
            f"{row['ifindex']}: {self.names[row['ifindex']]} {row['family']} {to}/{row['prefixlen']} "
            f"{words(('metric', row.get('rt_priority')), ('brd', row.get('broadcast')))} "
            f"scope {scope(row)} {' '.join(flags)} {row.get('label', '')} {words(*lives)}"
        )

    def route(self, row: Row) -> str:
        bits = 128 if row["family"] == "inet6" else 32
        to = row["dst"] if row["dst_len"] == bits else f"{row['dst']}/{row['dst_len']}"
        each = [
            words(("nexthop via", hop), ("dev", self.names[index]), ("weight", more + 1))
            for hop, index, more in zip(
                row.get("multipath_gateway", ()),
                row.get("multipath_ifindex", ()),
                row.get("multipath_hops", ()),
                strict=True,
            )
        ]
        return words(
            (row["type"], to),
            ("nhid", row.get("nh_id")),
            ("via", row.get("gateway")),
            ("dev", self.names.get(row.get("oif", 0))),
            ("table", row["table"]),
            ("proto", row["protocol"]),
            ("scope", scope(row)),
            ("src", row.get("prefsrc")),
            ("metric", row.get("priority")),
            (" ".join(row["flags"]), ""),
            ("mtu", row.get("metrics_mtu")),
            ("pref", row.get("pref")),
            (" ".join(each), ""),
        )

    def neigh(self, row: Row) -> str:
        states = " ".join(state.upper() for state in row["state"])
        about = words(("dev", self.names[row["ifindex"]]), ("lladdr", row.get("lladdr")))
        return f"{row['dst']} {about} {' '.join(row['flags'])} {states}"

    def rule(self, row: Row) -> str:
        mark = hex(row["fwmark"]) if "fwmark" in row else None
        return f"{row['priority']}: from {row.get('src', 'all')} " + words(
            ("fwmark", mark), ("lookup", row["table"]), ("proto", row["protocol"])
        )

    def nexthop(self, row: Row) -> str:
        return words(
            ("id", row["id"]),
            ("via", row.get("gateway")),
            ("dev", self.names.get(row.get("oif", 0))),
            ("scope", scope(row)),
            ("proto", row["protocol"]),
            (" ".join(row["flags"]), ""),
        )

    def netconf(self, row: Row) -> str:
        switches = "forwarding", "mc_forwarding", "proxy_neigh", "ignore_routes_with_linkdown"
        switched = words(*((name, switch(row[name])) for name in switches if name in row))
        filtering = {0: "off", 1: "strict", 2: "loose", None: None}[row.get("rp_filter")]
        return f"{row['family']} {self.names[row['ifindex']]} {switched} {words(('rp_filter', filtering))}"


def scope(row: Row) -> str:
    return {"universe": "global"}.get(row["scope"], row["scope"])


def plain(line: str) -> str:
    """One of ip's lines with all words after the first sorted."""
    line = line.replace("\\", " ")
    if line.startswith("[LINK]"):
        line, _, _ = line.partition(" promiscuity ")
        before, flags, behind = re.split("[<>]", line, maxsplit=2)
        # M-DOWN describes the link below; this message does not carry it.
        line = f"{before}<{','.join(sorted({*flags.split(',')} - {'M-DOWN'}))}>{behind}"
    first, *rest = line.split()
    return " ".join([first, *sorted(rest)])


def of_events(lines: Iterable[str]) -> list[str]:
    """Only the events: ip indents the lines that it requested from the kernel."""
    return [plain(line) for line in lines if line.startswith("[")]
