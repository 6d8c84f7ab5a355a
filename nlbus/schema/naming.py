"""Names of values and of bits, from words in the kernel's order."""

from collections.abc import Mapping


def numbered(names: str, first: int = 0) -> Mapping[int, str]:
    """The names of consecutive numbers."""
    return dict(enumerate(names.split(), first))


def bits(names: str, first: int = 0) -> Mapping[int, str]:
    """The names of consecutive bits, by their values."""
    return {1 << bit: name for bit, name in enumerate(names.split(), first)}
