"""The filters of any source. What compiles them is imported when there is something to compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nlbus.filters import HEADS
from nlbus.schema.schema import Schema

if TYPE_CHECKING:
    from nlbus.filters import Wanted
    from nlbus.filters.messages import Filter
from nlbus.sources import Source


class Narrowing:
    """Filters of a source's sockets; iterating yields their programs, the sharpest first, as far as they are
    asked for; none if all messages pass.

    wanted: the rows that somebody reads. others: messages of other tables are read, too.
    """

    def __init__(
        self, source: Source | None = None, wanted: Wanted | None = None, others: bool = True
    ) -> None:
        # Messages of these alone are wanted; none: of any table.
        self.tables = frozenset(() if wanted is None or others else wanted)
        self._asked = source is not None and source.handshake is not None and bool(source.handshake.narrow)
        self._by_head = source is not None and not source.schemas
        self._rest = iter(()) if source is None or wanted is None else _filters(source, wanted, others)
        self._made: list[tuple[Filter, bytes]] = []
        some = source is not None and wanted is not None and any(self._more())
        self.gappy = some and self._made[0][0].gappy  # on the bus; see Filter

    def __iter__(self) -> Iterator[bytes]:
        number = 0
        while number < len(self._made) or any(self._more()):
            yield self._made[number][1]
            number += 1

    def _more(self) -> Iterator[bool]:
        """Make one more, if there is one: yields whether."""
        from nlbus.filters.assemble import TooLong, encoded  # noqa: PLC0415

        for made in self._rest:
            try:
                self._made.append((made, encoded(made.program())))
            except TooLong:
                continue
            yield True

    def explain(self, number: int) -> list[str]:
        """What the kernel filters by the program of this number (-1: by none), in lines of words."""
        if not self._made:
            return []
        if number < 0:
            return ["the kernel filters nothing: it takes no program (see net.core.optmem_max)"]
        made, program = self._made[number]
        asked = [f"the kernel sends {', '.join(sorted(self.tables))} only (since Linux 6.6)"]
        lines = [f"the kernel filters ({len(program) // 8} instructions)"]
        if made.gappy:
            lines.append("  losses are counted in dropped datagrams: gaps may be what was filtered")
        elif made.parts and not self._by_head:
            others = "pass" if made.others else "are not received"
            lines.append(f"  messages of other tables {others}")
        for part in made.parts:
            where = "kernel" if not part.decoder else "kernel and decoder" if part.kernel else "decoder"
            lines.append(f"  {part.table}: {part.text}: {where}")
        return (asked if self._asked and self.tables else []) + lines


def _filters(source: Source, wanted: Wanted, others: bool) -> Iterator[Filter]:
    if not source.schemas:
        heads = wanted.get(HEADS, [None])[0]
        if heads is not None:
            from nlbus.filters.heads import head_filters  # noqa: PLC0415

            yield from head_filters(source, heads)
    elif source.framing == "datagram":
        from nlbus.filters.texts import text_filters  # noqa: PLC0415

        for schema in source.schemas:
            yield from text_filters(schema, wanted.get(schema.name, [None]))
    elif source.framing == "nlmsg" and all(isinstance(schema, Schema) for schema in source.schemas):
        from nlbus.filters.messages import message_filters  # noqa: PLC0415

        yield from message_filters(source.schemas, wanted, others)
