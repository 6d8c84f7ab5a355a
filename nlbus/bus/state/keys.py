"""Keys of rows: hashed by column, found by their values in Python, and made into those."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nlbus._core.state.hashing import (
    KeyColumn,
    address_cell,
    hash_key,
    hashes,
    mix_fixed,
    mix_spans,
    mix_store,
)
from nlbus.schema.types import Column, Values
from nlbus.table.decoded import DecodedRows

if TYPE_CHECKING:
    from nlbus.schema.schema import AnySchema
    from nlbus.table.chunks import Chunk

Hashes = npt.NDArray[np.uint64]
Key = Any  # the value of the one key column, or a tuple of all; of another namespace: (nsid, that)
SLOT, KEY, CONTENT = range(3)
NSID = "nl_nsid"


class Stored(NamedTuple):
    """Which columns of a decoder's store are hashed: (cell, column) each, the others, the former again."""

    pairs: npt.NDArray[np.int32]
    others: list[int]
    ready: list[int]


class Keys:
    """The keys of a table's rows."""

    def __init__(self, schema: AnySchema, columns: tuple[Column, ...]) -> None:
        manners = schema.manners
        self._columns = columns
        self._places = {column.name: i for i, column in enumerate(columns)}
        self.names = tuple(schema.key)
        self._masks = {self._places[name]: mask for name, mask in manners.masks.items()}
        self._unless = {self._places[name]: self._places[other] for name, other in manners.unless.items()}
        self._slot = self._ordered(NSID, *(manners.slot or schema.key))
        beside = [column.name for column in columns if matches(column.name, manners.beside)]
        self._key = self._ordered(NSID, *schema.key, *beside)
        # What a key may leave out is content.
        apart = {*self._key} - {*self._masks} - {*self._unless}
        self._content = self._ordered(
            *(
                column.name
                for i, column in enumerate(columns)
                if i not in apart
                and not column.name.startswith("nl_")
                and not matches(column.name, manners.volatile)
            )
        )
        # A slot whose key has no more columns: all rows of a chain have the key.
        self.exact = not manners.beside and (not manners.slot or len(manners.slot) == len(schema.key))
        slot = {*self._slot}
        self._parts = tuple(
            KeyColumn(
                _encoder(columns[i]), i, self.names.index(columns[i].name),
                fixed=columns[i].storage == "fixed", in_slot=i in slot,
            )
            for i in self._ordered(*self.names)
        )  # fmt: skip
        self._wide = len(self.names) > 2  # a pair is (nsid, key) then
        self._stored: dict[int, Stored] = {}

    def _ordered(self, *names: str) -> list[int]:
        """The places of columns in the order in which they are hashed, whoever stores them.

        The namespace, what a decoder's store has ready, what must be looked at row by row, and lists.
        """

        def rank(i: int) -> int:
            if self._columns[i].list:
                return 3
            return 2 if i in self._masks or i in self._unless else int(i != self._places[NSID])

        return sorted((self._places[name] for name in names), key=rank)

    # -- of chunks ------------------------------------------------------------------------------------

    def hashes(self, chunk: Chunk) -> tuple[Hashes, Hashes, Hashes]:
        """The hashes of each row's slot, key, and content."""
        return *self.places(chunk), self._of(chunk, self._content, CONTENT)

    def places(self, chunk: Chunk) -> tuple[Hashes, Hashes]:
        """The hashes of each row's slot and key."""
        return self._of(chunk, self._slot, SLOT), self._of(chunk, self._key, KEY)

    def former(self, chunk: Chunk, moved: int) -> tuple[Hashes, Hashes]:
        """The hashes of slots and keys with the values of column `moved` instead of the key's first."""
        first = self._places[self.names[0]]
        slot, key = ([moved if i == first else i for i in places] for places in (self._slot, self._key))
        names = {moved: first}
        return self._of(chunk, slot, SLOT, names), self._of(chunk, key, KEY, names)

    def _of(self, chunk: Chunk, places: list[int], salt: int, names: dict[int, int] | None = None) -> Hashes:
        found = hashes(len(chunk), salt)
        nsid = self._places[NSID]
        if nsid in places:
            places = [i for i in places if i != nsid]
            if not chunk.absent(nsid):
                values = chunk.values(nsid)
                _mix(found, values, values.valid, nsid)
        if isinstance(chunk, DecodedRows) and names is None:
            places = self._of_store(found, chunk, places, salt)
        for i in places:
            if not chunk.absent(i):
                values = chunk.values(i)
                valid = values.valid
                if salt == KEY and i in self._masks:
                    assert values.values is not None
                    some = values.values & np.array(self._masks[i], values.values.dtype)
                    values, valid = Values(some), some != 0
                other = self._unless.get(i)
                if other is not None and salt != CONTENT and not chunk.absent(other):
                    there = chunk.values(other).valid
                    taken = np.ones(len(chunk), np.bool_) if there is None else there
                    valid = ~taken if valid is None else valid & ~taken
                _mix(found, values, valid, (names or {}).get(i, i))
        return found

    def _of_store(self, into: Hashes, chunk: DecodedRows, places: list[int], salt: int) -> list[int]:
        """Mix in what the decoder has ready; returns the columns that are left."""
        known = self._stored.get(salt)
        if known is None:
            ready = [
                i for i in places if chunk.cells[i] >= 0 and i not in self._masks and i not in self._unless
            ]
            pairs = np.array([(chunk.cells[i], i) for i in ready], np.int32).reshape(len(ready), 2)
            known = self._stored[salt] = Stored(pairs, [i for i in places if i not in ready], ready)
        left = mix_store(into, chunk.store, known.pairs)
        return [*known.others, *(known.ready[i] for i in left)] if left else known.others

    # -- of Python's values ------------------------------------------------------------------------------

    def of(self, key: Key) -> tuple[int, int] | None:
        """The hashes of a key's slot and of the key, as far as it goes; None for what cannot be a key."""
        nsid = None
        if not (self._wide and type(key) is tuple and len(key) == len(self.names)):
            pair = isinstance(key, tuple) and len(key) == 2 and type(key[0]) is int
            if pair and (len(self.names) != 2 or isinstance(key[1], tuple)):
                nsid, key = key
            if len(self.names) == 1:
                key = (key,)
            if not isinstance(key, tuple) or len(key) != len(self.names):
                return None
        try:
            where = None
            if nsid is not None:
                where = self._places[NSID], nsid.to_bytes(4, sys.byteorder, signed=True)
            return hash_key(key, self._parts, where)
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, OSError):
            return None

    def key(self, row: dict[str, Any]) -> Key:
        """The key of a row, as `state["link"]` has it."""
        unless = {self._columns[i].name: self._columns[other].name for i, other in self._unless.items()}
        every = (None if name in unless and unless[name] in row else row.get(name) for name in self.names)
        values = tuple(tuple(each) if isinstance(each, list) else each for each in every)
        key = values[0] if len(values) == 1 else values
        return (row[NSID], key) if NSID in row else key


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether one of these names, which may have wildcards, is this one."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _mix(into: Hashes, values: Values, valid: np.ndarray[Any, Any] | None, column: int) -> None:
    there = None if valid is None else np.ascontiguousarray(valid).view(np.uint8)
    if values.offsets is None:
        assert values.values is not None
        mix_fixed(into, _raw(values.values), values.values.itemsize, there, column)
        return
    offsets = np.ascontiguousarray(values.offsets)
    if values.items is None:
        assert values.values is not None
        mix_spans(into, _raw(values.values), offsets, 1, there, column)
        return
    items = values.items
    if items.valid is not None and not items.valid.all():
        # Of lists that lack an item only: other rows of the chunk must not matter.
        lacking = np.concatenate([[0], np.cumsum(~items.valid)])
        some = lacking[offsets[1:]] > lacking[offsets[:-1]]
        some = some if valid is None else some & valid
        mix_spans(into, _raw(items.valid), offsets, 1, some.view(np.uint8), column)
    if items.offsets is None:
        assert items.values is not None
        raw = items.values
        if items.valid is not None and not items.valid.all():
            raw = raw.copy()
            raw[~items.valid] = np.zeros(1, raw.dtype)[0]
        mix_spans(into, _raw(raw), offsets, raw.itemsize, there, column)
        return
    assert items.values is not None
    lengths = np.diff(items.offsets).astype(np.int32)
    mix_spans(into, _raw(lengths), offsets, 4, there, column)
    mix_spans(into, _raw(items.values), items.offsets[offsets].astype(np.int32), 1, there, column)


def _raw(array: np.ndarray[Any, Any]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(np.ascontiguousarray(array), np.uint8) if array.size else np.empty(0, np.uint8)


def _encoder(column: Column) -> Callable[[Any], bytes]:
    """From a value of Python, as rows have it, to the bytes of a cell."""
    if column.storage == "text":
        return lambda value: value.encode(errors="surrogateescape")
    if column.display == "address":
        return address_cell
    if column.display in ("lladdr", "mac"):
        return _lladdr
    if column.storage == "bytes":
        return lambda value: bytes.fromhex(value) if isinstance(value, str) else bytes(value)
    size, signed = column.dtype.itemsize, column.dtype.kind == "i"
    if column.dtype.kind == "V":
        return lambda value: bytes.fromhex(value.replace(":", ""))
    numbers = {name: number for number, name in (column.enum or {}).items()}
    flags = {name: bit for bit, name in (column.flags or {}).items()}

    def encode(value: Any) -> bytes:
        if isinstance(value, str):
            value = numbers[value]
        elif flags and isinstance(value, tuple):
            value = sum(flags[each] if each in flags else int(each, 16) for each in value)
        return int(value).to_bytes(size, sys.byteorder, signed=signed)

    return encode


def _lladdr(value: Any) -> bytes:
    text = str(value)
    if not text:
        return b""
    if "." in text:
        return inet_pton(AF_INET, text)
    if text.count(":") == len(text) // 3 and all(len(part) == 2 for part in text.split(":")):
        return bytes.fromhex(text.replace(":", ""))
    return inet_pton(AF_INET6, text)
