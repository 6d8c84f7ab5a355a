"""Conditions as socket filters: what the kernel need not queue."""

from collections.abc import Mapping, Sequence

from nlbus.table.expressions import Expression

# The rows that are wanted of each table: those for which one of the expressions is true; None: all.
Wanted = Mapping[str, Sequence[Expression | None]]
HEADS = ""  # as the name of a table: messages of a source without tables
