"""Events of a topic as a table: a column a field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus.columns import NL_COLUMNS, Column, Display, Values
from nlbus.table import Table

if TYPE_CHECKING:
    from nlbus._typing import Structured
    from nlbus.batch import Batch
    from nlbus.topic import Topic


class Records:
    """Records and what is known of their events, as a chunk of a Table; it owns both."""

    def __init__(self, columns: tuple[Column, ...], records: Structured, about: dict[str, Values]) -> None:
        self._columns = columns
        self._records = records
        self._about = about

    def __len__(self) -> int:
        return len(self._records)

    def values(self, i: int) -> Values:
        """The values of column i."""
        column = self._columns[i]
        if column.name in self._about:
            return self._about[column.name]
        # Fields lie scattered, at any alignment and in any byte order.
        field = np.ascontiguousarray(self._records[column.name])
        if column.dtype.kind == "V":
            return Values(field.view("u1").reshape(-1).view(column.dtype))
        return Values(field.astype(column.dtype, copy=False))


def topic_columns(topic: Topic) -> tuple[Column, ...]:
    """The nl_ columns and the topic's fields: numbers as they are, all else as bytes of fixed size."""
    fields: Any = topic.dtype.fields or {}
    own = []
    for name, (dtype, *_) in fields.items():
        plain = dtype.newbyteorder("=") if dtype.kind in "buif" else np.dtype(f"V{dtype.itemsize}")
        display: Display = "" if dtype.kind in "buif" else "hex"
        own.append(Column(name=name, dtype=plain, type=str(dtype), nullable=False, display=display))
    return (*NL_COLUMNS, *own)


def topic_table(batch: Batch, topic: Topic) -> Table:
    """The events of the topic that fit it."""
    columns = topic_columns(topic)
    if not batch._is_bus:
        return Table(columns, loss=batch.loss)
    segments = batch._table
    fit = _fitting(batch, topic)
    rows = int(fit.sum())
    about = {
        "nl_row": np.flatnonzero(fit).astype(np.uint32),
        "nl_time": batch.events["time_ns"][fit],
        "nl_op": np.zeros(rows, np.uint8),
        "nl_origin": np.zeros(rows, np.uint8),
        "nl_group": np.repeat(segments["group"], segments["count"])[fit],
    }
    values = {name: Values(array) for name, array in about.items()}
    values["nl_nsid"] = Values(np.full(rows, -1, np.int32), np.zeros(rows, np.bool_))
    return Table(columns, [Records(columns, np.array(batch.records(topic)), values)], batch.loss)


def _fitting(batch: Batch, topic: Topic) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which events `batch.records(topic)` has."""
    segments = batch._table
    size = topic.dtype.itemsize
    ours = (segments["type"] == topic.type) & (segments["fingerprint"] == topic.fingerprint)
    fixed = segments["offsets_at"] < 0
    fit = np.repeat(ours & fixed & (segments["record_size"] == size), segments["count"])
    ends = np.cumsum(segments["count"], dtype=np.int64)
    for i in np.flatnonzero(ours & ~fixed).tolist():
        count = int(segments["count"][i])
        offsets = np.frombuffer(batch.data, "<u4", count + 1, int(segments["offsets_at"][i]))
        fit[ends[i] - count : ends[i]] = np.diff(offsets) == size
    return fit
