"""Changes of nftables' rulesets, and packets' ways through them, as lines."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from nlbus.cli.render.interface_names import InterfaceNames

Row = dict[str, Any]

# The columns that a line is made of; -v shows the others.
ONLY: Mapping[str, Iterable[str]] = {
    "rule": (
        "family", "table", "chain", "handle", "position", "expr_name", "expr_lookup_set",
        "expr_immediate_data_verdict_*", "expr_counter_*", "expr_log_prefix", "expr_objref_imm_name",
    ),
    "set": ("family", "table", "name", "handle", "flags", "key_len", "data_len", "timeout", "desc_size"),
    "trace": (
        "family", "table", "chain", "id", "type", "rule_handle", "verdict_code", "verdict_chain", "policy",
        "iif", "oif", "mark", "network_header", "transport_header",
    ),
}  # fmt: skip


def _named(row: Row, names: InterfaceNames) -> Iterator[str]:
    """The family, and the names from the outermost."""
    yield f"{row.pop('family')}"
    for column in ("table", "chain", "set", "name"):
        if column in row:
            yield f"{row.pop(column)}"
    if "handle" in row:
        yield f"handle {row.pop('handle')}"


def _generation(row: Row, names: InterfaceNames) -> Iterator[str]:
    row.pop("family")
    yield f"{row.pop('id', '')}"
    if "proc_name" in row:
        yield f"by {row.pop('proc_name')}"


def _trace(row: Row, names: InterfaceNames) -> Iterator[str]:
    yield f"{row.pop('id', 0):#x}"
    yield from _named(row, names)
    if "type" in row:
        yield f"{row.pop('type')}"
    if "rule_handle" in row:
        yield f"handle {row.pop('rule_handle')}"
    for column in ("verdict_code", "verdict_chain", "policy"):
        if column in row:
            yield f"{row.pop(column)}"


WORDS: Mapping[str, Callable[[Row, InterfaceNames], Iterator[str]]] = {
    **dict.fromkeys(("table", "chain", "rule", "set", "element", "object", "flowtable"), _named),
    "generation": _generation,
    "trace": _trace,
}
