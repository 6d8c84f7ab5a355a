"""Decoded messages as lines of JSON: when, from where, and the columns of the row beside it."""

from collections.abc import Sequence

import numpy as np

from nlbus import Batch, Groups, Table
from nlbus._core.render.cells import Cells, Kind
from nlbus._core.render.lines import Lines
from nlbus._core.render.style import Style
from nlbus._typing import Array
from nlbus.cli.render.records import json_text
from nlbus.cli.render.styles import Field, fields
from nlbus.cli.render.times import iso
from nlbus.kernel.interfaces import Interfaces
from nlbus.schema.types import Column
from nlbus.schema.words import name_key
from nlbus.sources import Source, group_names
from nlbus.table.values import chunk_cells

Piece = tuple[tuple[int, ...], int]  # columns, and the last one if it is an index of an interface, or -1


class RecordLines:
    """Makes the lines of `records.as_json` for the rows of tables."""

    def __init__(self, source: Source) -> None:
        self._source = source
        bus = source.framing == "bus"
        numbers = _in_mask if bus else _alone
        self._groups = Kind("named", numbers)
        self._names = Kind("named", lambda number: group_names(source, numbers(number)))
        self._number = Kind("signed")
        self._as_json = [Style("json", json_text) for _ in range(3)]  # each keeps texts by number
        self._source_name = f', "source": {json_text(source.name)}'.encode()
        self._shown: dict[tuple[str, tuple[str, ...]], tuple[bool, list[Piece]]] = {}
        self._named: dict[str, Style] = {}  # by the key of the names
        self._version = -1
        self._time = Style("json", lambda time: f'"{iso(time)}"', by_number=True)

    def of(
        self,
        batch: Batch,
        name: str,
        table: Table,
        wanted: tuple[str, ...],
        interfaces: Interfaces | None = None,
    ) -> Lines:
        """The lines of a table's rows: these columns, in this order, where they have a value.

        interfaces: the name of each interface of this namespace stands behind its index.
        """
        (chunk,) = table.chunks
        every = chunk_cells(table.columns, chunk)
        key = name, wanted
        if key not in self._shown:
            self._shown[key] = _pieces(table, wanted)
        has_time, pieces = self._shown[key]
        time = table["time_ns"] if has_time else table["nl_time"].view(np.int64)
        groups = batch.events["groups"][table["nl_row"]] if batch.on_bus else table["nl_group"]
        times = _cells(self._number, time)
        found: list[Field] = [
            (b', "time": ', self._time, times, None),
            (b', "time_ns": ', self._as_json[2], times, None),
            self._source_name,
            (b', "groups": ', self._as_json[0], _cells(self._groups, groups), None),
            (b', "group_names": ', self._as_json[1], _cells(self._names, groups), None),
            f', "nl_table": {json_text(name)}'.encode(),
        ]
        if interfaces is not None:
            self._follow(interfaces)
        for shown, index in pieces:
            found += fields("json", self._source, table.columns, every, shown)
            if interfaces is not None and index >= 0 and every[index] is not None:
                found.append((b"", self._beside(table.columns[index], interfaces), every[index], None))
        return Lines(found, len(table), b"{", b"}\n", 2)

    def _follow(self, interfaces: Interfaces) -> None:
        """Forget the names that were written, if one has changed."""
        interfaces.update()
        if interfaces.version != self._version:
            self._version = interfaces.version
            for style in self._named.values():
                style.forget()

    def _beside(self, column: Column, interfaces: Interfaces) -> Style:
        """Writes key and name behind an index; nothing if the name is unknown."""
        key = name_key(column.name)

        def encode(index: int) -> str:
            known = interfaces.known(index)
            return "" if known is None else f", {json_text(key)}: {json_text(known)}"

        if key not in self._named:
            self._named[key] = Style("json", encode, by_number=True)
        return self._named[key]


def _pieces(table: Table, wanted: Sequence[str]) -> tuple[bool, list[Piece]]:
    """Whether rows have a time of their own, and the columns to write, up to each index of an interface."""
    places = {column.name: i for i, column in enumerate(table.columns)}
    # The row may have its own time; the batch has only that of its first event.
    own = places.get("time_ns")
    pieces: list[Piece] = []
    shown: list[int] = []
    for i in [places[each] for each in dict.fromkeys(wanted) if each in places]:
        if i == own:
            continue
        shown.append(i)
        column = table.columns[i]
        if is_index(column) and name_key(column.name) not in places:
            pieces.append((tuple(shown), i))
            shown = []
    return own is not None, [*pieces, (tuple(shown), -1)]


def is_index(column: Column) -> bool:
    """Whether it has an index of an interface in each row."""
    return column.display == "interface" and not column.list


def _cells(kind: Kind, values: Array) -> Cells:
    return Cells.of(kind, len(values), values, None, None, None, None, False)


def _in_mask(mask: int) -> list[int]:
    return list(Groups.from_mask(mask))


def _alone(number: int) -> Sequence[int]:
    return [number] if number else []
