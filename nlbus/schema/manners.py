"""How the kernel tells of a table's rows: what identifies one, what a message replaces, what goes unsaid.

A dump says everything. Messages do not: some carry a part of a row, some replace rows without naming them,
and some changes have no message at all. This is data beside the columns of a schema; nlbus.bus.state acts on
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Op = Literal["new", "change", "del"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Partial:
    """Messages without the column `lacks` ("": all) say nothing of the columns `keeps` that they lack."""

    lacks: str = ""
    keeps: Sequence[str] = ("*",)  # names, with wildcards
    ops: Sequence[Op] = ("new", "change")
    only: Mapping[str, int] = field(default_factory=dict, hash=False)  # rows of this kind: column to number


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """An event of the table `of` after which rows of this table may be others than were told.

    having, lacking: only of events with, or without, a value in this column. match: our columns to a column
    of the event's row, which has the same value in the rows in question; several of our columns: in any of
    these. Empty: all rows.
    """

    of: str
    having: str = ""
    lacking: str = ""
    match: Mapping[str | tuple[str, ...], str] = field(default_factory=dict)
    ops: Sequence[Op] = ("new", "change", "del")
    why: str = ""  # a sentence for the docs


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How the kernel tells of the rows of a table.

    slot: the first columns of the key; a "change" replaces all rows that have these in common. (): a key has
    one row. beside: columns that tell rows apart, in addition to the key. unless: a column of the key counts
    only in rows without this other column. merging: in rows of this kind, column to number, a message may
    also mean other rows of its slot. partial: see there. silent: columns that change without a message.
    volatile: columns that change by themselves, as counters and ages do. moves: the column with the former
    value of the key. ends: the column with the number of the network namespace that a del ends. unheard: why
    a dump may have rows of which no message came.
    """

    slot: Sequence[str] = ()
    beside: Sequence[str] = ()
    masks: Mapping[str, int] = field(default_factory=dict)
    unless: Mapping[str, str] = field(default_factory=dict)
    merging: Mapping[str, int] = field(default_factory=dict)
    partial: Sequence[Partial] = ()
    silent: Sequence[str] = ()
    volatile: Sequence[str] = ()
    moves: str = ""
    ends: str = ""
    doubts: Sequence[Doubt] = ()
    unheard: str = ""


PLAIN = Manners()
