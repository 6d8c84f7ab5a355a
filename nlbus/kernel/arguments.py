"""Checks of numbers that callers pass: nan, infinity and huge values are refused at once."""

from __future__ import annotations

import math
import operator

from nlbus.errors import SchemaError

MAX_SECONDS = 1e9  # about 31 years; as nanoseconds since boot it still fits 64 bits
MAX_SHOWN = 200  # characters of a value in an error


def shown(value: object) -> str:
    """The value for an error text: short, and whatever its size."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to print integers of more than 4300 digits
        return f"a {type(value).__name__}"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def integer(value: object, what: str) -> int:
    """Return a Python or numpy integer as int; bools and all else are SchemaError."""
    if isinstance(value, bool):
        raise SchemaError(f"{what} is an integer, not {value!r}")
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise SchemaError(f"{what} is an integer, not {shown(value)}") from None


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
        raise SchemaError(f"{name}={shown(found)}: from {lowest} to {highest}")
    return found


def _real(value: object, name: str, unit: str) -> float:
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise SchemaError(f"{name}={shown(value)}: {unit} expected")
    try:
        return float(value)  # type: ignore[arg-type]
    except OverflowError:
        return float("inf")
    except (TypeError, ValueError):
        raise SchemaError(f"{name}={shown(value)}: {unit} expected") from None
