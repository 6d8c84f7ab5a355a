"""Checks of numbers that callers pass: nan, infinity and huge values are refused at once."""

from __future__ import annotations

import math

from nlbus.errors import SchemaError
from nlbus.kernel.groups import integer

MAX_SECONDS = 1e9  # about 31 years; as nanoseconds since boot it still fits 64 bits


def number(value: object, name: str, lowest: float, highest: float, unit: str = "a number") -> float:
    """A number within these bounds, as float. SchemaError for anything else."""
    found = _real(value, name, unit)
    if not lowest <= found <= highest:
        raise SchemaError(f"{name}={found}: {unit}, from {lowest:g} to {highest:g}")
    return found


def seconds(value: object, name: str, highest: float = MAX_SECONDS, *, above_zero: bool = False) -> float:
    """A number of seconds from 0, or above 0, up to `highest`, as float. SchemaError for anything else."""
    if not above_zero:
        return number(value, name, 0, highest, "seconds")
    found = _real(value, name, "seconds")
    if not 0 < found <= highest:
        raise SchemaError(f"{name}={found}: seconds, above 0, at most {highest:g}")
    return found


def optional_seconds(value: object, name: str) -> float | None:
    """A number of seconds from 0; None for None and infinity, which mean no limit. SchemaError otherwise."""
    return None if value is None or value == math.inf else seconds(value, name)


def whole(value: object, name: str, lowest: int, highest: int) -> int:
    """A whole number within these bounds, as int. SchemaError for anything else."""
    found = integer(value, name)
    if not lowest <= found <= highest:
        # Python refuses to print integers of more than 4300 digits.
        shown = found if found.bit_length() <= 128 else f"an integer of {found.bit_length()} bits"
        raise SchemaError(f"{name}={shown}: from {lowest} to {highest}")
    return found


def _real(value: object, name: str, unit: str) -> float:
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise SchemaError(f"{name}={value!r}: {unit} expected")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        raise SchemaError(f"{name}={value!r}: {unit} expected") from None
