"""Keys of rows: hashed by column, found by their values in Python, and made into those."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, Any

import numpy as np

from nlbus._core.state.hashing import hash_cell, hash_start, hashes, mix_fixed, mix_spans
from nlbus.schema.types import Column, Values
from nlbus.table.values import MAPPED

if TYPE_CHECKING:
    from nlbus._core.state.hashing import Bytes, Hashes
    from nlbus.schema.schema import AnySchema
    from nlbus.table.chunks import Chunk

Key = Any  # the value of the one key column, or a tuple of all; of another namespace: (nsid, that)
SLOT, KEY, CONTENT = range(3)
NSID = "nl_nsid"
REMEMBERED = 4096  # encoded values per column


class Keys:
    """The keys of a table's rows."""

    def __init__(self, schema: AnySchema, columns: tuple[Column, ...]) -> None:
        manners = schema.manners
        self._columns = columns
        self._places = {column.name: i for i, column in enumerate(columns)}
        self.names = tuple(schema.key)
        self._slot = [self._places[name] for name in (NSID, *(manners.slot or schema.key))]
        self._masks = {self._places[name]: mask for name, mask in manners.masks.items()}
        beside = [column.name for column in columns if _matches(column.name, manners.beside)]
        self._key = [self._places[name] for name in (NSID, *schema.key, *beside)]
        apart = {*self._key} - {*self._masks}
        self._content = [
            i
            for i, column in enumerate(columns)
            if i not in apart
            and not column.name.startswith("nl_")
            and not _matches(column.name, manners.volatile)
        ]
        self._unless = {self._places[name]: self._places[other] for name, other in manners.unless.items()}
        # A slot whose key has no more columns: all rows of a chain have the key.
        self.exact = not manners.beside and (not manners.slot or len(manners.slot) == len(schema.key))
        self._encoders = [_encoder(columns[self._places[name]]) for name in self.names]
        self._known: list[dict[Any, bytes | None]] = [{} for _ in self.names]

    # -- of chunks ------------------------------------------------------------------------------------

    def hashes(self, chunk: Chunk) -> tuple[Hashes, Hashes, Hashes]:
        """The hashes of each row's slot, key, and content."""
        return self._of(chunk, self._slot, SLOT), self._of(chunk, self._key, KEY), self.contents(chunk)

    def contents(self, chunk: Chunk) -> Hashes:
        """The hash of each row's columns but the key and those that change by themselves."""
        return self._of(chunk, self._content, CONTENT)

    def former(self, chunk: Chunk, moved: int) -> tuple[Hashes, Hashes]:
        """The hashes of slots and keys with the values of column `moved` instead of the key's first."""
        first = self._places[self.names[0]]
        slot, key = ([moved if i == first else i for i in places] for places in (self._slot, self._key))
        names = {moved: first}
        return self._of(chunk, slot, SLOT, names), self._of(chunk, key, KEY, names)

    def _of(self, chunk: Chunk, places: list[int], salt: int, names: dict[int, int] | None = None) -> Hashes:
        found = hashes(len(chunk), salt)
        for i in places:
            if not chunk.absent(i):
                values = chunk.values(i)
                valid = values.valid
                if salt == KEY and i in self._masks:
                    assert values.values is not None
                    some = values.values & np.array(self._masks[i], values.values.dtype)
                    values, valid = Values(some), some != 0
                other = self._unless.get(i)
                if other is not None and not chunk.absent(other):
                    there = chunk.values(other).valid
                    taken = np.ones(len(chunk), np.bool_) if there is None else there
                    valid = ~taken if valid is None else valid & ~taken
                _mix(found, values, valid, (names or {}).get(i, i))
        return found

    # -- of Python's values ------------------------------------------------------------------------------

    def slot_of(self, key: Key) -> int | None:
        """The hash of the slot that a key lies in; None for what cannot be a key."""
        return self._hash(key, self._slot, SLOT)

    def key_of(self, key: Key) -> int | None:
        """The hash of a key, where the schema's key is all that tells rows apart."""
        return self._hash(key, self._key, KEY)

    def _hash(self, key: Key, places: list[int], salt: int) -> int | None:
        parts = self._parts(key)
        if parts is None:
            return None
        nsid, values = parts
        state = hash_start(salt)
        if nsid is not None:
            state = hash_cell(state, nsid.to_bytes(4, sys.byteorder, signed=True), self._places[NSID], True)
        try:
            for number, (name, value) in enumerate(zip(self.names, values, strict=True)):
                i = self._places[name]
                if value is None or i not in places:
                    continue
                known = self._known[number]
                raw = known.get(value)
                if raw is None:
                    raw = self._encoders[number](value)
                    if len(known) < REMEMBERED:
                        known[value] = raw
                state = hash_cell(state, raw, i, self._columns[i].storage == "fixed")
        except (ValueError, TypeError, OverflowError, KeyError, AttributeError, OSError):
            return None
        return state

    def _parts(self, key: Key) -> tuple[int | None, tuple[Any, ...]] | None:
        nsid = None
        if len(self.names) == 1:
            if isinstance(key, tuple):
                if len(key) != 2 or not isinstance(key[0], int):
                    return None
                nsid, key = key
            return nsid, (key,)
        if isinstance(key, tuple) and len(key) == 2 and isinstance(key[1], tuple):
            nsid, key = key
            if not isinstance(nsid, int):
                return None
        return (nsid, key) if isinstance(key, tuple) and len(key) == len(self.names) else None

    def key(self, row: dict[str, Any]) -> Key:
        """The key of a row, as `state["link"]` has it."""
        unless = {self._columns[i].name: self._columns[other].name for i, other in self._unless.items()}
        values = tuple(
            None if name in unless and unless[name] in row else row.get(name) for name in self.names
        )
        key = values[0] if len(values) == 1 else values
        return (row[NSID], key) if NSID in row else key


def _matches(name: str, patterns: Sequence[str]) -> bool:
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
        mix_spans(into, _raw(items.valid), offsets, 1, there, column)
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


def _raw(array: np.ndarray[Any, Any]) -> Bytes:
    return np.frombuffer(np.ascontiguousarray(array), np.uint8) if array.size else np.empty(0, np.uint8)


def _encoder(column: Column) -> Callable[[Any], bytes]:
    """From a value of Python, as rows have it, to the bytes of a cell."""
    if column.storage == "text":
        return lambda value: value.encode(errors="surrogateescape")
    if column.display == "address":
        return _address
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
            value = sum(flags[each] for each in value)
        return int(value).to_bytes(size, sys.byteorder, signed=signed)

    return encode


def _address(value: Any) -> bytes:
    text = str(value)
    return inet_pton(AF_INET6, text) if ":" in text else MAPPED + inet_pton(AF_INET, text)


def _lladdr(value: Any) -> bytes:
    text = str(value)
    if "." in text:
        return inet_pton(AF_INET, text)
    if text.count(":") == len(text) // 3 and all(len(part) == 2 for part in text.split(":")):
        return bytes.fromhex(text.replace(":", ""))
    return inet_pton(AF_INET6, text)
