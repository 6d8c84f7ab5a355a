"""Differences between a State and the kernel: every row, and every column that does not change by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import nlbus
from nlbus.sources import find

Row = Mapping[str, Any]
Cells = tuple[tuple[str, str], ...]

# What `unheard` of their manners says: no event is a hint. An audit finds them.
UNHEARD: Mapping[str, Callable[[Row], bool]] = {
    "neigh": lambda row: row.get("type") != "unicast" or "proxy" in row["flags"],
    "fdb": lambda row: "self" in row["flags"] and str(row.get("lladdr")).startswith(("33:33", "01:")),
}


class Difference(NamedTuple):
    """A row that a State has and the kernel has not ("stale"), the other way round, or other columns."""

    state: str
    table: str
    what: str  # stale, missing, or columns that differ
    key: Any
    text: str

    def __str__(self) -> str:
        return f"{self.state} {self.table} {self.key}: {self.what}: {self.text}"


def differences(source: str, table: str, states: Mapping[str, Any], audited: bool) -> Iterator[Difference]:
    """Those of each State, by key; rows of the same key are compared as a whole.

    audited: without excuse; else columns that change silently, and rows that come silently, do not count.
    """
    schema = next(each for each in find(source).schemas if each.name == table)
    volatile = (*schema.manners.volatile, "nl_*", *(() if audited else schema.manners.silent))
    unheard = None if audited else UNHEARD.get(table)

    def rows(found: Iterable[Row]) -> Counter[Cells]:
        return _rows((row for row in found if unheard is None or not unheard(row)), volatile)

    kernel = rows(nlbus.snapshot(source, table).iter_rows(absent=False))
    for name, state in states.items():
        ours = rows(state[table].values())
        stale, missing = ours - kernel, kernel - ours
        lost: dict[Any, list[Cells]] = {}
        for row in missing:
            lost.setdefault(_key(schema.key, row), []).append(row)
        for row in stale:
            key = _key(schema.key, row)
            if key in lost:
                theirs = lost[key].pop()
                if not lost[key]:
                    del lost[key]
                told, there = dict(row), dict(theirs)
                columns = sorted(c for c in {*told, *there} if told.get(c) != there.get(c))
                text = ", ".join(f"{c} {told.get(c)} for {there.get(c)}" for c in columns)
                yield Difference(name, table, " ".join(columns), key, text)
            else:
                yield Difference(name, table, "stale", key, str(dict(row)))
        for key, more in lost.items():
            for row in more:
                yield Difference(name, table, "missing", key, str(dict(row)))


def _rows(rows: Iterable[Row], volatile: Sequence[str]) -> Counter[Cells]:
    names: dict[str, bool] = {}

    def counts(name: str) -> bool:
        if name not in names:
            names[name] = not any(fnmatchcase(name, pattern) for pattern in volatile)
        return names[name]

    return Counter(
        tuple((name, str(value)) for name, value in sorted(row.items()) if counts(name)) for row in rows
    )


def _key(names: Sequence[str], row: Cells) -> tuple[str | None, ...]:
    values = dict(row)
    return tuple(values.get(name) for name in names)
