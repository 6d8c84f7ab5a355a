"""`nlbus stats`: show every netlink socket of the machine, and its drops."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from nlbus import NetlinkSocket
from nlbus._text import escape_value
from nlbus.cli.render.module_stats import lines
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.stdout import write_all
from nlbus.diag import survey
from nlbus.sources import find

HALF_FULL, FULL = 0.5, 0.9  # share of the buffer from which it is shown in yellow, in red

Style = dict[str, Any]


def stats(
    *,
    source: str | None,
    output: str,
    netns: str | int | None,
    here: bool,
    pid: int | None,
    drops: bool,
    module: bool,
    kernel: bool,
) -> None:
    """Show the netlink sockets of the machine, or those of SOURCE's protocol."""
    if netns is not None and here:
        raise click.UsageError("--netns cannot be combined with --here")
    if module:
        if source is not None or here or pid or drops or not kernel:
            raise click.UsageError("--module can be combined with --netns and --output only")
        _write(lines(netns, output == "json"))
        return
    protocol = None if source is None else find(source).protocol
    found = survey(netns, here=here)
    for sentence in found.missing:
        report(f"not shown: {sentence}")
    chosen = [
        one
        for one in found.sockets
        if (protocol is None or one.protocol == protocol)
        and (pid is None or any(process.pid == pid for process in one.processes))
        and (one.drops or not drops)
        and (one.portid or kernel)
    ]
    _write([json.dumps(_record(one)) for one in chosen] if output == "json" else _table(chosen))


def _write(lines: list[str]) -> None:
    write_all("".join(f"{line}\n" for line in lines))


def _record(one: NetlinkSocket) -> dict[str, Any]:
    return one._asdict() | {
        "groups": list(one.groups),
        "processes": [process._asdict() for process in one.processes],
    }


# -- the table ------------------------------------------------------------------------------------


class _Column(NamedTuple):
    title: str
    text: Callable[[NetlinkSocket], str]
    align: str = "<"
    style: Callable[[NetlinkSocket], Style] = lambda _: {}


def _table(sockets: list[NetlinkSocket]) -> list[str]:
    columns = COLUMNS
    if len({one.netns for one in sockets}) < 2:
        columns = [column for column in COLUMNS if column is not NETNS]
    lines = [""] * (1 + len(sockets))
    for column in columns:
        cells = [column.title, *map(column.text, sockets)]
        styles: list[Style] = [{"bold": True}, *map(column.style, sockets)]
        width = 0 if column is columns[-1] else max(map(len, cells))
        for i, (cell, style) in enumerate(zip(cells, styles, strict=True)):
            lines[i] += click.style(f"{cell:{column.align}{width}}", **style) + "  " * (width > 0)
    return lines


def _holders(one: NetlinkSocket) -> str:
    if not one.portid:
        return "(kernel)"
    return ",".join(f"{pid}/{escape_value(command)}" for pid, command in one.processes) or "?"


def _percent(one: NetlinkSocket) -> str:
    if not one.buffer_size:
        return "?"
    percent = 100 * one.buffer_used / one.buffer_size
    return "<1%" if 0 < percent < 1 else f"{percent:.0f}%"


def _bytes(one: NetlinkSocket) -> str:
    return f"{one.buffer_used}/{'?' if one.buffer_size is None else one.buffer_size}"


def _options(one: NetlinkSocket) -> str:
    return "?" if one.flags is None else ",".join(one.flags) or "-"


def _dim_kernel(one: NetlinkSocket) -> Style:
    return {} if one.portid else {"dim": True}


def _red_drops(one: NetlinkSocket) -> Style:
    return {"fg": "red", "bold": True} if one.drops else {}


def _fill(one: NetlinkSocket) -> Style:
    fill = one.buffer_used / one.buffer_size if one.buffer_size else 0
    return {"fg": "red"} if fill >= FULL else {"fg": "yellow"} if fill >= HALF_FULL else {}


NETNS = _Column("NETNS", lambda one: escape_value(one.netns_name) or str(one.netns))
COLUMNS = [
    _Column("PROTOCOL", lambda one: one.protocol_name),
    _Column("PORTID", lambda one: str(one.portid), ">"),
    _Column("PROCESS", _holders, style=_dim_kernel),
    _Column("FULL", _percent, ">", _fill),
    _Column("BUFFER", _bytes, ">", _fill),
    _Column("DROPS", lambda one: str(one.drops), ">", _red_drops),
    NETNS,
    _Column("OPTIONS", _options),
    _Column("GROUPS", lambda one: ",".join(one.group_names) or "-", style=lambda _: {"fg": "cyan"}),
]
