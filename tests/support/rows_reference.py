"""Rows, JSON and CSV in plain Python, as nlbus wrote them before compiled code did: the oracle."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from socket import AF_INET, AF_INET6, inet_ntop
from typing import Any

import numpy as np

from nlbus import Table
from nlbus._text import as_utf8, escape_value
from nlbus._typing import Array
from nlbus.schema.types import Column, Values
from nlbus.table.values import IPV6_FAMILIES

TUNNELS = {4: AF_INET, 16: AF_INET6}
MAPPED = b"\0" * 10 + b"\xff\xff"


# -- rows -----------------------------------------------------------------------------------------


def rows(table: Table, *, absent: bool = True) -> Iterator[dict[str, Any]]:
    for chunk in table.chunks:
        names = [column.name for column in table.columns]
        families = chunk.families
        cells = [
            to_python(column, chunk.values(i), families if column.family else None)
            for i, column in enumerate(table.columns)
        ]
        for row in zip(*cells, strict=True):
            pairs = zip(names, row, strict=True)
            yield dict(pairs) if absent else {name: value for name, value in pairs if value is not None}


def texts(values: Values) -> list[str]:
    return [raw.decode(errors="surrogateescape") for raw in _pieces(values)]


def _or_none(cells: list[Any], valid: Array | None) -> list[Any]:
    if valid is None:
        return cells
    return [cell if there else None for cell, there in zip(cells, valid.tolist(), strict=True)]


def to_python(column: Column, values: Values, families: Array | None = None) -> list[Any]:
    if values.items is not None:
        assert values.offsets is not None
        inner = None if families is None else np.repeat(families, np.diff(values.offsets))
        items = to_python(column, values.items, inner)
        cells: list[Any] = [items[start:end] for start, end in pairwise(values.offsets.tolist())]
    elif column.storage == "text":
        cells = texts(values)
    elif column.display == "address":
        cells = _addresses(column, values, families)
    elif column.storage == "bytes" or column.dtype.kind == "V":
        cells = [*map(_shown(column), _pieces(values))]
    else:
        assert values.values is not None
        cells = values.values.tolist()
        if column.enum is not None:
            names = column.enum
            cells = [names.get(number, number) for number in cells]
        elif column.flags is not None:
            bits = {number: flag_names(column.flags, number) for number in set(cells)}
            cells = [[*bits[number]] for number in cells]
        elif column.display == "dotted":
            cells = [inet_ntop(AF_INET, number.to_bytes(4, "big")) for number in cells]
    return _or_none(cells, values.valid)


def _pieces(values: Values) -> list[bytes]:
    if values.offsets is not None:
        assert values.values is not None
        raw = values.values.tobytes()
        return [raw[start:end] for start, end in pairwise(values.offsets.tolist())]
    assert values.values is not None
    raw, size = values.values.tobytes(), values.values.itemsize
    return [raw[at : at + size] for at in range(0, len(raw), size)]


def _addresses(column: Column, values: Values, families: Array | None) -> list[str]:
    pieces = _pieces(values)
    sixes = is_ipv6(column, families, len(pieces))
    if not sixes.any():
        return [*map(address_text, pieces)]
    return [
        inet_ntop(AF_INET6, raw) if six else address_text(raw)
        for raw, six in zip(pieces, sixes.tolist(), strict=True)
    ]


def _shown(column: Column) -> Callable[[bytes], object]:
    shown: dict[str, Callable[[bytes], object]] = {
        "mac": lambda raw: raw.hex(":"),
        "lladdr": lladdr_text,
        "hex": bytes.hex,
        "dotted": lambda raw: ".".join(map(str, raw)),
        "labels": labels_text,
    }
    return shown.get(column.display, bytes)


def is_ipv6(column: Column, families: Array | None, rows: int) -> Array:
    if column.family != "family" or families is None:
        return np.full(rows, column.family == "inet6")
    return IPV6_FAMILIES[families]


def flag_names(names: Mapping[int, str], number: int) -> list[str]:
    known = [bit for bit in names if bit & number]
    rest = number & ~sum(known)
    return [names[bit] for bit in known] + ([f"{rest:#x}"] if rest else [])


def address_text(raw: bytes) -> str:
    return inet_ntop(AF_INET, raw[12:]) if raw.startswith(MAPPED) else inet_ntop(AF_INET6, raw)


def lladdr_text(raw: bytes) -> str:
    family = TUNNELS.get(len(raw))
    return raw.hex(":") if family is None else inet_ntop(family, raw)


def labels_text(raw: bytes) -> str:
    entries = (int.from_bytes(raw[at : at + 4], "big") for at in range(0, len(raw), 4))
    return "/".join(str(entry >> 12) for entry in entries)


# -- JSON and CSV ---------------------------------------------------------------------------------


def json_rows(table: Table, prepared: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> Iterator[str]:
    for row in rows(table, absent=False):
        yield json_text(prepared(row))


def json_text(value: object) -> str:
    return json.dumps(_in_utf8(value), default=bytes.hex)


def _in_utf8(value: object) -> object:
    if isinstance(value, str):
        return as_utf8(value)
    if isinstance(value, list):
        return [*map(_in_utf8, value)]
    if isinstance(value, dict):
        return {_in_utf8(key): _in_utf8(each) for key, each in value.items()}
    return value


def csv_rows(
    table: Table,
    prepared: Callable[[dict[str, Any]], dict[str, Any]] = dict,
    *,
    terminal: bool = False,
) -> Iterator[str]:
    replaced: dict[str, Sequence[str]] = {
        column.name: np.datetime_as_string(table[column.name], timezone="UTC").tolist()
        for column in table.columns
        if column.display == "time" and not column.list
    }
    for i, row in enumerate(rows(table)):
        shown = prepared(row)
        for name, cells in replaced.items():
            if shown[name] is not None:
                shown[name] = cells[i]
        yield _line(_cell(value, terminal) for value in shown.values())


def _line(cells: Iterable[object]) -> str:
    text = io.StringIO()
    # The writer quotes the characters of its line end: both must be quoted, as either ends a record for
    # readers.
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n")


def _cell(value: object, terminal: bool) -> object:
    if isinstance(value, list | dict | bool):
        return json_text(value)
    if isinstance(value, str) and terminal:
        return escape_value(value)
    return value.hex() if isinstance(value, bytes) else value
