"""State in dicts, by the schemas' manners: the oracle for nlbus.bus.state."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from nlbus.schema.schema import AnySchema, RecordSchema
from nlbus.schema.types import Column
from nlbus.table.decoded import decoder

Row = dict[str, Any]


def frozen(value: Any) -> Any:
    """The value, hashable."""
    if isinstance(value, list):
        return tuple(map(frozen, value))
    return (
        tuple(sorted((key, frozen(each)) for key, each in value.items()))
        if isinstance(value, dict)
        else value
    )


class Model:
    """The rows of one table."""

    def __init__(self, schema: AnySchema, columns: Iterable[str]) -> None:
        self.schema = schema
        self.manners = schema.manners
        self.rows: list[Row] = []
        self.beside = [
            name for name in columns if any(fnmatchcase(name, each) for each in self.manners.beside)
        ]

    def part(self, row: Row, name: str) -> Any:
        """A column of a row, as far as it counts for the key."""
        if self.manners.unless.get(name) in row:
            return None
        value = row.get(name)
        if name in self.manners.masks:
            names = flag_names(self.schema, name, self.manners.masks[name])
            return tuple(each for each in value or () if each in names) or None
        return frozen(value)

    def slot(self, row: Row) -> Any:
        return tuple(self.part(row, name) for name in ("nl_nsid", *(self.manners.slot or self.schema.key)))

    def key(self, row: Row) -> Any:
        return tuple(self.part(row, name) for name in ("nl_nsid", *self.schema.key, *self.beside))

    def apply(self, row: Row) -> bool:
        """Apply an event; whether it leaves a doubt."""
        op = row["nl_op"]
        slot = [each for each in self.rows if self.slot(each) == self.slot(row)]
        old = [each for each in slot if self.key(each) == self.key(row)]
        doubtful = False
        if op == "del":
            doubtful = bool(slot) and not old
        elif old:
            row = self.completed(row, old[0])
        elif self.manners.slot and op == "change":
            doubtful = len(slot) > 1
            old = slot if len(slot) == 1 else []
        elif self.manners.merging and all(
            row.get(name) == number_name(self.schema, name, number)
            for name, number in self.manners.merging.items()
        ):
            doubtful = bool(slot)
        self.rows = [each for each in self.rows if not any(each is gone for gone in old)]
        if op != "del":
            self.rows.append(row)
        return doubtful

    def completed(self, row: Row, old: Row) -> Row:
        """A partial row with what it does not carry."""
        kept: Row = {}
        for partial in self.manners.partial:
            if row["nl_op"] in partial.ops and (not partial.lacks or partial.lacks not in row):
                kept |= {
                    name: value
                    for name, value in old.items()
                    if name not in row
                    and not name.startswith("nl_")
                    and any(fnmatchcase(name, pattern) for pattern in partial.keeps)
                }
        return row | kept


def flag_names(schema: AnySchema, column: str, mask: int) -> set[str]:
    flags = described(schema, column).flags or {}
    return {name for bit, name in flags.items() if bit & mask}


def number_name(schema: AnySchema, column: str, number: int) -> Any:
    return (described(schema, column).enum or {}).get(number, number)


def described(schema: AnySchema, column: str) -> Column:
    assert not isinstance(schema, RecordSchema)
    return next(each for each in decoder(schema, None).columns if each.name == column)


def canonical(rows: Iterable[Row]) -> list[str]:
    """The rows in an order of their own, without what a message adds."""
    return sorted(
        repr(
            sorted(
                (key, frozen(value))
                for key, value in row.items()
                if not key.startswith("nl_") or key == "nl_nsid"
            )
        )
        for row in rows
    )
