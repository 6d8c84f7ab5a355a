"""Tables as lines of text: the words of a row become a template for all rows of its shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import numpy.typing as npt

from nlbus import Table
from nlbus._core.render.style import Style
from nlbus._core.render.text import MODES, Shapes, Text
from nlbus._typing import Array
from nlbus.cli.render.holes import DEVICE, HEX, NAME, PLAIN, TIME, VARIABLES, WORD, DependsError, Hole, parts
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.row_text import DURATION, RowText, value_text
from nlbus.cli.render.times import iso
from nlbus.schema.types import Column
from nlbus.sources import Source, group_names
from nlbus.sources.uevent import variables
from nlbus.table.values import chunk_cells

if TYPE_CHECKING:
    from nlbus.table.chunks import Chunk

Part = tuple[Array, bytes, npt.NDArray[np.int64]]  # numbers, lines, and where each ends

VALUE = MODES.index("value")
TRUTH = MODES.index("truth")
MOST_TRIES = 1000  # of a row: each lets its table's shapes depend on more


class TableText:
    """Writes rows of a table as text: events, if so, which begin with the time; styled: in colours."""

    def __init__(
        self,
        source: Source,
        name: str,
        columns: tuple[Column, ...],
        words: RowText,
        names: InterfaceNames,
        *,
        events: bool,
        styled: bool,
    ) -> None:
        self.columns = columns
        self._source = source
        self._name = name
        self._words = words
        self._names = names
        self._events = events
        self._styled = styled
        self._styles: dict[tuple[int, str], Style] = {}
        self._places = {column.name: i for i, column in enumerate(columns)}
        self._env = self._places.get("env", -1) if source.name == "uevent" else -1
        # The row may have its own time; nl_time is that of its batch.
        self._time = self._places.get("time_ns", self._places.get("nl_time", -1))
        self._shapes = Shapes(len(columns))
        for i, column in enumerate(columns):
            # Few values, or such as words depend on.
            plain = column.storage != "fixed" or (
                column.dtype.kind in "iuV" and column.enum is None and column.flags is None
            )
            if i != self._env and (column.list or not plain):
                self._shapes.depend(i, "value")
        if source.name == "uevent" and "nl_group" in self._places:
            self._shapes.depend(self._places["nl_group"], "value")
        self._version = names.version
        self._named = False  # whether a template has a name in it

    @property
    def is_links(self) -> bool:
        """Whether its rows teach names of interfaces."""
        return self._source.name == "route" and self._name == "link"

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._places

    def chunk(self, chunk: Chunk) -> Text:
        """The rows of a chunk, to be written."""
        text: Text

        def make(row: int) -> list[bytes | tuple[int, Style]] | None:
            return self._template(dict(text.values(row)))

        def line(row: int) -> bytes:
            return self._line(dict(text.values(row))).encode()

        text = Text(self._shapes, chunk_cells(self.columns, chunk), len(chunk), make, line)
        return text

    def refresh(self) -> None:
        """Call it before rows are written after names of interfaces may have changed."""
        names = self._names
        if names.version == self._version and not names.unsettled:
            return
        self._version = names.version
        for (_, how), style in self._styles.items():
            if how.startswith((NAME, DEVICE)):
                style.forget()
        if self._named:
            self._shapes.forget()
            self._named = False

    # -- a row --------------------------------------------------------------------------------------

    def _line(self, values: dict[int, Any]) -> str:
        row = {self.columns[i].name: value for i, value in values.items()}
        if self._env >= 0 and not isinstance(row["env"], Hole):
            row["env"] = variables(row["env"])
        if not self._events:
            line = self._words.joined(self._name, row)
        else:
            group = values[self._places["nl_group"]] if self._source.name == "uevent" else 0
            time = values[self._time]
            line = self._words.event(
                {
                    "time": time.as_written(TIME) if isinstance(time, Hole) else iso(time),
                    "nl_table": self._name,
                    "group_names": group_names(self._source, [group] if group else []),
                    "row": row,
                }
            )
        return line if self._styled else click.unstyle(line)

    def _template(self, values: dict[int, Any]) -> list[bytes | tuple[int, Style]] | None:
        for _ in range(MOST_TRIES):
            known = self._names.asked
            self._names.asked = False
            try:
                line = self._line(_Row(self._shapes, values, self._env).holes())
                self._named = self._named or self._names.asked
                return self._compiled(parts(line))
            except DependsError as found:
                if found.mode == "equal":
                    self._shapes.compare(found.columns[0], found.columns[1])
                else:
                    self._shapes.depend(found.columns[0], found.mode)
            except Exception:
                return None  # what does this with a hole words the row itself, or fails there
            finally:
                self._names.asked = known or self._names.asked
        return None

    def _compiled(self, found: list[str | tuple[int, str]]) -> list[bytes | tuple[int, Style]] | None:
        template: list[bytes | tuple[int, Style]] = []
        for part in found:
            if isinstance(part, tuple):
                if part[1] == VARIABLES and template and isinstance(before := template[-1], bytes):
                    template[-1] = before.removesuffix(b" ")  # each variable has a space before it
                template.append((part[0], self._style(*part)))
            elif "\\" in part and len(found) > 1:
                return None  # whether it is doubled depends on the whole word
            else:
                template.append(part.encode())
        return template

    def _style(self, i: int, how: str) -> Style:
        if (i, how) not in self._styles:
            self._styles[i, how] = self._new_style(self.columns[i], how)
        return self._styles[i, how]

    def _new_style(self, column: Column, how: str) -> Style:
        names = self._names
        if how == PLAIN:
            return Style("plain", str)
        if how == HEX:
            return Style("plain", lambda value: f"{value:#x}", by_number=True)
        if how == TIME:
            return Style("plain", iso, by_number=True)
        if how == VARIABLES:
            return Style("shell", str, pairs=True)
        if how == WORD:
            return _word_style(column)
        device, nsid = how.startswith(DEVICE), int(how.removeprefix(DEVICE).removeprefix(NAME))
        said = names.device if device else names.name
        return Style("plain", lambda index: str(said(index, nsid)), by_number=True)


def _word_style(column: Column) -> Style:
    """How `value_text` writes a column."""
    parsed = DURATION.fullmatch(column.unit)
    made = column.display in ("time", "hex")
    after = b""
    if parsed is not None and not made:
        count, plain, fraction = parsed.groups()
        made = bool(count or fraction)
        after = b"" if made else plain.encode()
    return Style("shell", lambda value: value_text(column, value), by_number=made, after=after)


class _Row:
    """A row that is being worded: holes, and values where lines depend on these."""

    def __init__(self, shapes: Shapes, values: dict[int, Any], env: int) -> None:
        self._shapes = shapes
        self._values = values
        self._env = env

    def holes(self) -> dict[int, Any]:
        """The values by column."""
        modes = self._shapes.modes
        return {i: value if modes[i] == VALUE else Hole(self, i) for i, value in self._values.items()}

    def is_true(self, column: int) -> bool:
        """Whether a value is true."""
        if self._shapes.modes[column] != TRUTH:
            raise DependsError("truth", column)
        return bool(self._values[column])

    def are_equal(self, column: int, other: int) -> bool:
        """Whether two values are equal."""
        if (column, other) not in self._shapes.pairs:
            raise DependsError("equal", column, other)
        return bool(self._values[column] == self._values[other])


def lines_in_order(texts: list[tuple[TableText, Table]], names: InterfaceNames) -> Iterator[Part]:
    """The rows of these tables as parts for `merged`; each has the names that the links before it taught."""
    rows = [[table["nl_row"], text, text.chunk(chunk), 0] for text, table in texts for chunk in table.chunks]
    links = [(text, table) for text, table in texts if text.is_links]
    for text, table in links:
        wanted = [name for name in ("nl_row", "nl_nsid", "ifindex", "ifname") if text.has(name)]
        for row in table.select(wanted).iter_rows(absent=False):
            if names.is_news(row):
                yield from _written(rows, row["nl_row"])
                names.learn(row)
    yield from _written(rows, None)


def _written(rows: list[list[Any]], before: int | None) -> Iterator[Part]:
    for each in rows:
        numbers, text, lines, first = each
        last = len(numbers) if before is None else int(np.searchsorted(numbers, before))
        if last > first:
            text.refresh()
            yield numbers[first:last], *lines.write(first, last)
            each[3] = last
