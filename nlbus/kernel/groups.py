"""Groups: an immutable set of multicast group numbers."""

import operator
from collections.abc import Iterable, Iterator, Set
from itertools import islice
from typing import Any, Self, cast, final

from nlbus.errors import SchemaError
from nlbus.kernel.arguments import integer, shown

MASK_GROUPS = 32  # a 32-bit mask holds groups 1 to 32
MAX_LISTED = 1 << 17  # items of an iterable: nflog has the most groups, 65,536
_U32_MAX = 0xFFFF_FFFF


def _number(value: object) -> int:
    number = integer(value, "a group (numbered from 1)")
    if not 1 <= number <= _U32_MAX:
        raise SchemaError(f"no group {shown(number)}: groups are numbered from 1 (and fit 32 bits)")
    return number


def _is_integer(value: object) -> bool:
    """Whether Python takes it for one; numpy's arrays without dimensions count."""
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        return False
    return True


def listed(value: object) -> tuple[Any, ...]:
    """Return an integer, or the items of an iterable, as a tuple. SchemaError for text and too many items."""
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        raise SchemaError(f"groups are numbered from 1: give integers, not {shown(value)}")
    if not isinstance(value, Iterable) or _is_integer(value):
        return (value,)
    found = tuple(islice(value, MAX_LISTED + 1))
    if len(found) > MAX_LISTED:
        raise SchemaError(f"more than {MAX_LISTED} groups: no source has so many")
    return found


@final
class Groups(Set[int]):
    """A set of group numbers from 1, iterated in ascending order; set algebra gives Groups again."""

    __slots__ = ("_members", "_ordered")
    _members: frozenset[int]
    _ordered: tuple[int, ...]

    def __init__(self, *groups: int) -> None:
        members = frozenset(map(_number, groups))
        object.__setattr__(self, "_members", members)
        object.__setattr__(self, "_ordered", tuple(sorted(members)))

    @classmethod
    def from_mask(cls, mask: int) -> Self:
        """Return the groups of a 32-bit mask: bit g - 1 is group g."""
        bits = integer(mask, "a groups mask")
        if not 0 <= bits <= _U32_MAX:
            raise SchemaError(f"groups mask {shown(bits)} does not fit 32 bits")
        return cls(*(bit + 1 for bit in range(MASK_GROUPS) if bits >> bit & 1))

    @classmethod
    def of(cls, value: "int | Iterable[int] | Groups") -> "Groups":
        """Return a group, or an iterable of groups, as Groups."""
        if isinstance(value, Groups):
            return value
        return cls(*listed(value))

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> "Groups":  # type: ignore[override]
        return cls(*it)  # builds the results of set algebra

    def __and__(self, other: Set[Any]) -> "Groups":
        return cast(Groups, super().__and__(other))

    def __or__(self, other: Set[Any]) -> "Groups":
        return cast(Groups, super().__or__(other))

    def __sub__(self, other: Set[Any]) -> "Groups":
        return cast(Groups, super().__sub__(other))

    def __xor__(self, other: Set[Any]) -> "Groups":
        return cast(Groups, super().__xor__(other))

    @property
    def mask(self) -> int:
        """The set as a 32-bit mask; SchemaError if it holds a group above 32."""
        if self._ordered and self._ordered[-1] > MASK_GROUPS:
            raise SchemaError(f"group {self._ordered[-1]} does not fit a mask: it holds groups 1 to 32")
        return sum(1 << number - 1 for number in self._ordered)

    def __contains__(self, item: object) -> bool:
        return item in self._members

    def __iter__(self) -> Iterator[int]:
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._ordered)

    def __hash__(self) -> int:
        return hash(self._members)

    def __repr__(self) -> str:
        return f"Groups({', '.join(map(str, self._ordered))})"

    def __reduce__(self) -> tuple[type["Groups"], tuple[int, ...]]:
        return Groups, self._ordered

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Groups is immutable: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Groups is immutable: cannot delete {name}")
