"""The filters of any source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nlbus.filters.assemble import TooLong, encoded
from nlbus.filters.messages import Filter, Wanted, message_filters

if TYPE_CHECKING:
    from nlbus.sources import Source


class Narrowing:
    """Filters of a source's sockets, the sharpest first, and their programs; none if all messages pass.

    wanted: the rows that somebody reads. others: messages of other tables are read, too.
    """

    def __init__(
        self, source: Source | None = None, wanted: Wanted | None = None, others: bool = True
    ) -> None:
        self.filters: list[Filter] = []
        self.programs: list[bytes] = []
        for made in () if source is None or wanted is None else _filters(source, wanted, others):
            try:
                self.programs.append(encoded(made.program()))
            except TooLong:
                continue
            self.filters.append(made)

    def explain(self, number: int) -> list[str]:
        """What the kernel filters by the program of this number (-1: by none), in lines of words."""
        if not self.filters:
            return []
        if number < 0:
            return ["the kernel filters nothing: it takes no program (see net.core.optmem_max)"]
        made, size = self.filters[number], len(self.programs[number]) // 8
        others = "pass" if made.others else "are not received"
        lines = [f"the kernel filters ({size} instructions); messages of other tables {others}"]
        for part in made.parts:
            where = "kernel" if not part.decoder else "kernel and decoder" if part.kernel else "decoder"
            lines.append(f"  {part.table}: {part.text}: {where}")
        return lines


def _filters(source: Source, wanted: Wanted, others: bool) -> Iterator[Filter]:
    if source.framing == "nlmsg":
        yield from message_filters(source.schemas, wanted, others)
