"""Sockets as lines, much like those of ss."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nlbus.cli.render.holes import actual
from nlbus.cli.render.interface_names import InterfaceNames

Row = dict[str, Any]

INET = (
    "family", "state", "rqueue", "wqueue", "src", "sport", "dst", "dport", "ifindex", "uid", "inode",
    "cookie", "cong", "tcpi_rtt", "tcpi_rto", "tcpi_snd_cwnd", "mem_drops",
)  # fmt: skip
# The columns that a line is made of; -v shows the others.
ONLY: Mapping[str, Iterable[str]] = {
    **dict.fromkeys(("tcp", "udp", "udplite", "raw", "mptcp"), INET),
    "unix": ("type", "state", "name", "inode", "peer_inode", "rqueue", "wqueue", "uid", "cookie"),
    "netlink": (
        "protocol",
        "portid",
        "groups",
        "inode",
        "mem_rmem_alloc",
        "mem_rcvbuf",
        "mem_drops",
        "cookie",
    ),
    "packet": (
        "type",
        "num",
        "ifindex",
        "inode",
        "uid",
        "mem_rmem_alloc",
        "mem_rcvbuf",
        "mem_drops",
        "cookie",
    ),
    "vsock": ("type", "state", "src_cid", "src_port", "dst_cid", "dst_port", "inode", "cookie"),
    "xdp": ("ifindex", "queue_id", "inode", "uid", "mem_rmem_alloc", "mem_rcvbuf", "cookie"),
}


def _inet(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield str(row.pop("state"))
    yield f"{_end(row, 'src', 'sport', names)} > {_end(row, 'dst', 'dport', names)}"
    row.pop("ifindex", None)
    row.pop("family")


def _end(row: Row, address: str, port: str, names: InterfaceNames) -> str:
    device = f"%{names.name(row['ifindex'])}" if address == "src" and "ifindex" in row else ""
    host = f"{row.pop(address)}"
    if actual(row["family"]) == "inet6":
        host = f"[{host}]"
    return f"{host}{device}:{row.pop(port)}"


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = dict.fromkeys(
    ("tcp", "udp", "udplite", "raw", "mptcp"), _inet
)
