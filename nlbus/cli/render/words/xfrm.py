"""States and policies of IPsec as lines, much like those of `ip xfrm`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nlbus.cli.render.interface_names import InterfaceNames

Row = dict[str, Any]

SELECTOR = (
    "sel_saddr", "sel_prefixlen_s", "sel_sport", "sel_sport_mask", "sel_daddr", "sel_prefixlen_d",
    "sel_dport", "sel_dport_mask", "sel_proto", "sel_ifindex",
)  # fmt: skip
STATE = ("saddr", "daddr", "proto", "spi", "mode", "reqid", "seq", "mark_v", "mark_m", "if_id", "sa_dir")
TEMPLATE = ("tmpl_saddr", "tmpl_daddr", "tmpl_proto", "tmpl_spi", "tmpl_mode", "tmpl_reqid")
POLICY = (*SELECTOR, "dir", "action", "priority", "index", "type", "mark_v", "mark_m", "if_id", *TEMPLATE)
# The columns that a line is made of; -v shows the others.
ONLY: Mapping[str, Iterable[str]] = {
    "state": (
        *STATE, "alg_aead_name", "alg_auth_name", "alg_crypt_name", "alg_comp_name", "encap_type",
        "encap_sport", "encap_dport", "offload_ifindex", "offload_flags", "flags", "curlft_bytes",
        "curlft_packets",
    ),
    "policy": POLICY,
    "acquire": (*STATE, *SELECTOR, "policy_index", *TEMPLATE),
    "expire": (*STATE, "hard", "curlft_bytes", "curlft_packets"),
    "policy_expire": (*POLICY, "hard"),
    "migrate": (*SELECTOR, "dir", "migrate_*"),
    "report": ("proto", *SELECTOR),
}  # fmt: skip


def _state(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield f"src {row.pop('saddr', 'any')} dst {row.pop('daddr', 'any')} proto {row.pop('proto')}"
    if "spi" in row:
        yield f"spi {row.pop('spi'):#x}"
    for name in ("mode", "reqid"):
        if name in row:
            yield f"{name} {row.pop(name)}"


def _acquire(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield from _state(row, names)
    yield "sel"
    yield from _selector(row, names)


def _selector(row: Row, names: InterfaceNames) -> Iterator[str]:
    for word, address, length in (("src", "saddr", "s"), ("dst", "daddr", "d")):
        prefix = row.pop(f"sel_prefixlen_{length}")
        if (at := row.pop(f"sel_{address}", None)) is not None:
            yield f"{word} {at}/{prefix}"
    if "sel_proto" in row:
        yield f"proto {row.pop('sel_proto')}"
    for port in ("sport", "dport"):
        number = row.pop(f"sel_{port}")
        if row.pop(f"sel_{port}_mask"):
            yield f"{port} {number}"
    if "sel_ifindex" in row:
        yield f"dev {names.name(row.pop('sel_ifindex'))}"


def _policy(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield from _selector(row, names)
    for name in ("dir", "action", "priority"):
        if name in row:
            yield f"{name} {row.pop(name)}"


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {
    "state": _state,
    "expire": _state,
    "acquire": _acquire,
    "policy": _policy,
    "policy_expire": _policy,
    "migrate": _policy,
}
