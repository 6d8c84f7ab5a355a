"""Events of a topic, or of a source's record schema, as a table: a column per field."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.schema.schema import RecordSchema
from nlbus.schema.topic import Topic
from nlbus.schema.types import NL_COLUMNS, Column, Values
from nlbus.schema.words import unknown_column, with_words
from nlbus.table.table import Table
from nlbus.table.topic_columns import field_values, fields

if TYPE_CHECKING:
    from nlbus._typing import Array, Structured
    from nlbus.sources import Source
    from nlbus.table.chunks import Mask
    from nlbus.table.received import Received

NEVER_ABSENT: Mapping[str, int] = {}


class Records:
    """Records and data about their events, as a chunk of a Table; it owns both."""

    def __init__(
        self,
        columns: tuple[Column, ...],
        records: Structured,
        about: dict[str, Values],
        needs: Mapping[str, int],
        absent: Mapping[str, int],
    ) -> None:
        self._columns = columns
        self._records = records
        self._about = about
        self._fields = {field.column.name: field for field in fields(records.dtype)}
        self._needs = needs
        self._absent = absent

    def __len__(self) -> int:
        return len(self._records)

    @property
    def damaged(self) -> Mask:
        """Marks none: a record of another size has no row."""
        return np.zeros(len(self._records), np.bool_)

    @property
    def families(self) -> Array | None:
        """The record's field `family`; None without one."""
        return self._records["family"] if "family" in (self._records.dtype.names or ()) else None

    def absent(self, i: int) -> bool:
        """False: unknown until the values are read."""
        return False

    def values(self, i: int) -> Values:
        """The values of column i."""
        name = self._columns[i].name
        if name in self._about:
            return self._about[name]
        found = field_values(self._fields[name], self._records)
        valid = self._valid(name)
        return found if valid is None else replace(found, valid=valid)

    def _valid(self, name: str) -> Mask | None:
        if name in self._needs:
            valid: Mask = self._records["flags"] & self._needs[name] != 0
            return valid
        if name in self._absent:
            there: Mask = self._records[name] != self._absent[name]
            return there
        return None


def topic_columns(topic: Topic) -> tuple[Column, ...]:
    """The nl_ columns and the topic's fields."""
    return (*NL_COLUMNS, *(field.column for field in fields(topic.dtype)))


def topic_table(received: Received, topic: Topic) -> Table:
    """The events of the topic that fit it."""
    return _table(received, topic, topic_columns(topic), NEVER_ABSENT, NEVER_ABSENT)


@cache
def record_topic(source: Source, schema: RecordSchema) -> Topic:
    """The topic of a source's record events."""
    formats = [field.type.dtype for field in schema.fields]
    ends = np.cumsum([dtype.itemsize for dtype in formats]).tolist()
    named = [i for i, field in enumerate(schema.fields) if field.name]
    dtype: Any = {
        "names": [schema.fields[i].name for i in named],
        "formats": [("u1", (formats[i].itemsize,)) if formats[i].kind == "V" else formats[i] for i in named],
        "offsets": [ends[i] - formats[i].itemsize for i in named],
        "itemsize": ends[-1],
    }
    groups = [source.groups[name] for name in schema.groups]
    return Topic(schema.name, np.dtype(dtype), groups=groups, type=schema.type)


@cache
def record_columns(schema: RecordSchema, wanted: frozenset[str] | None) -> tuple[Column, ...]:
    """The nl_ columns and these of the schema, None for all. UnknownColumn."""
    has_family = any(field.name == "family" for field in schema.fields)
    own = [
        Column(
            name=field.name,
            dtype=field.type.dtype,
            type=field.type.name,
            unit=field.unit,
            enum=field.enum,
            flags=field.flags,
            nullable=field.absent is not None or field.name in schema.needs,
            attribute=field.name,
            display=field.display or field.type.display,
            family="family" if has_family and field.type.display == "address" else "",
        )
        for field in schema.fields
        if field.name
    ]
    own = with_words(own, schema.words)
    if lacking := sorted(set(wanted or ()) - {column.name for column in (*NL_COLUMNS, *own)}):
        raise unknown_column(lacking[0], (*NL_COLUMNS, *own), schema.name)
    return (*NL_COLUMNS, *(column for column in own if wanted is None or column.name in wanted))


def record_table(
    received: Received, source: Source, schema: RecordSchema, wanted: frozenset[str] | None
) -> Table:
    """These columns of a source's events of this kind."""
    absent = {field.name: field.absent for field in schema.fields if field.absent is not None}
    columns = record_columns(schema, wanted)
    return _table(received, record_topic(source, schema), columns, schema.needs, absent)


def _table(
    received: Received,
    topic: Topic,
    columns: tuple[Column, ...],
    needs: Mapping[str, int],
    absent: Mapping[str, int],
) -> Table:
    if not received.on_bus:
        return Table(columns, loss=received.loss)
    segments = received.index
    fit = _fitting(received, topic)
    rows = int(fit.sum())
    about = {
        "nl_row": np.flatnonzero(fit).astype(np.uint32),
        "nl_time": received.events["time_ns"][fit],
        "nl_op": np.zeros(rows, np.uint8),
        "nl_origin": np.zeros(rows, np.uint8),
        "nl_group": np.repeat(segments["group"], segments["count"])[fit],
    }
    values = {name: Values(array) for name, array in about.items()}
    values["nl_nsid"] = Values(np.full(rows, -1, np.int32), np.zeros(rows, np.bool_))
    records = np.array(received.records(topic))
    return Table(columns, [Records(columns, records, values, needs, absent)], received.loss)


def _fitting(received: Received, topic: Topic) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Marks the events that `received.records(topic)` returns."""
    segments = received.index
    size = topic.dtype.itemsize
    ours = (segments["type"] == topic.type) & (segments["fingerprint"] == topic.fingerprint)
    fixed = segments["offsets_at"] < 0
    fit = np.repeat(ours & fixed & (segments["record_size"] == size), segments["count"])
    ends = np.cumsum(segments["count"], dtype=np.int64)
    for i in np.flatnonzero(ours & ~fixed).tolist():
        count = int(segments["count"][i])
        offsets = np.frombuffer(received.data, "<u4", count + 1, int(segments["offsets_at"][i]))
        fit[ends[i] - count : ends[i]] = np.diff(offsets) == size
    return fit
