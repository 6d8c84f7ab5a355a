"""Random conditions on the columns of a table, about values that its rows have, or nearly."""

from __future__ import annotations

import operator
from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from typing import Any

from nlbus import Expression, Table, field
from nlbus.schema.types import Column
from nlbus.table.values import MAPPED

ORDERS: tuple[Callable[[Any, Any], Any], ...] = (
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
)  # fmt: skip
SAME = ORDERS[:2]


def any_condition(rng: Random, table: Table, depth: int = 2) -> Expression:
    """A random condition; its columns are those of the table."""
    if depth and rng.random() < 0.6:
        found = any_condition(rng, table, depth - 1)
        for _ in range(rng.randint(1, 2)):
            other = any_condition(rng, table, depth - 1)
            found = found & other if rng.random() < 0.5 else found | other
        return ~found if rng.random() < 0.3 else found
    test = any_test(rng, table, rng.choice(table.columns))
    return ~test if rng.random() < 0.3 else test


def any_test(rng: Random, table: Table, column: Column) -> Expression:
    """A random test of this column."""
    operand = field(column.name)
    if column.list or rng.random() < 0.1:
        return operand.is_null()
    if column.name == "nl_time":
        return operand > 0
    values = [value for value in _values(rng, table, column) for _ in range(2)]
    if column.flags and rng.random() < 0.5:
        return operand.has(
            *rng.sample(list(column.flags.values()), rng.randint(1, min(2, len(column.flags))))
        )
    if column.storage == "text" and rng.random() < 0.4:
        word = rng.choice(values)
        if not any(sign in word for sign in "*?["):
            return operand.matches(rng.choice((word[:2] + "*", word, word[:1] + "?" + word[2:], "*" + word)))
    if column.display == "address" and rng.random() < 0.5:
        return operand.within(_network(rng, rng.choice(values)))
    if rng.random() < 0.25:
        return operand.isin(rng.sample(values, rng.randint(0, min(4, len(values)))))
    ordered = column.storage == "fixed" and column.dtype.kind != "V"
    test: Expression = rng.choice(ORDERS if ordered else SAME)(operand, rng.choice(values))
    return test


def _values(rng: Random, table: Table, column: Column) -> list[Any]:
    """Values to compare with: of the table, and others."""
    array, valid = table[column.name], table.valid(column.name)
    found = [array[i] for i in range(len(table)) if valid[i]]
    if column.storage == "text":
        return [*map(str, found), "eth0", "", "x\\y"]
    if column.storage == "bytes":
        return [*found, b"", b"\2\0\0\0\0\1"]
    if column.dtype.kind == "V":
        size = column.dtype.itemsize
        every = [*(bytes(value) for value in found), bytes(size), rng.randbytes(size)]
        if column.display == "address":
            return [_shown(rng, value) for value in every]
        return every
    numbers = [int(value.view("i8") if column.display == "time" else value) for value in found]
    near = [number + rng.choice((-1, 1)) for number in numbers]
    every = [*numbers, *near, 0, 1, -1, 255, rng.getrandbits(8 * column.dtype.itemsize), 2.5, True]
    if column.display == "time":
        every = [value for value in every if isinstance(value, int) and abs(value) < 1 << 63]
    return [*every, *(column.enum or {}).values()]


def _shown(rng: Random, raw: bytes) -> Any:
    if rng.random() < 0.2:
        return raw
    return str(ip_address(raw[12:] if raw.startswith(MAPPED) else raw))


def _network(rng: Random, value: Any) -> str:
    if isinstance(value, bytes):
        value = str(ip_address(value[12:] if value.startswith(MAPPED) else value))
    lengths = (0, 10, 64, 96, 100, 127, 128) if ":" in value else (0, 1, 8, 20, 24, 31, 32)
    return f"{value}/{rng.choice(lengths)}"
