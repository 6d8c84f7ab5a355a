"""Values as data: their types on the wire, the fields of structs, and the columns they become.

Column names follow from the kernel's names: lower case, without the prefix, nested names joined by `_`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from socket import AF_INET
from typing import Any, Literal

import numpy as np

Storage = Literal["fixed", "text", "bytes"]
# "interface": the index of a network interface.
Display = Literal["", "address", "hex", "mac", "lladdr", "time", "dotted", "labels", "interface"]
# Whether an address that looks like a mapped IPv4 address is one. "family": the column of this name says so.
# "inet6": never. "": always.
Family = Literal["", "family", "inet6"]


@dataclass(frozen=True, slots=True)
class Type:
    """The form of a value on the wire and in a column."""

    name: str
    kind: str  # of enum kind in _core/columns/program.pxd
    size: int = 0  # bytes on the wire, at least
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype("V1"))  # of a fixed value in its column
    storage: Storage = "fixed"
    display: Display = ""
    family: Family = ""
    longest: int = 0  # bytes on the wire that "BYTES" may have; 0: any number
    by: str = ""  # of a union: the field of the same struct that says which member it has
    cases: tuple[int, int] = (0, 0)  # the values of `by` for IPv4 and IPv6, -1: all others; or for its bytes
    back: int = 0  # bytes: it lies where so many bytes before it begin, a further member of a union
    empty: bool = True  # of "TEXT": whether an empty one is a value


def _integer(name: str, size: int, *, signed: bool = False, swap: bool = False) -> Type:
    kind = ("SINT" if signed else "UINT") + ("_BE" if swap else "")
    return Type(name, kind, size, np.dtype(f"{'i' if signed else 'u'}{size}"))


U8, U16, U32, U64 = (_integer(f"u{8 * n}", n) for n in (1, 2, 4, 8))
S8, S16, S32, S64 = (_integer(f"s{8 * n}", n, signed=True) for n in (1, 2, 4, 8))
BE16, BE32, BE64 = (_integer(f"be{8 * n}", n, swap=True) for n in (2, 4, 8))
SBE16, SBE32, SBE64 = (_integer(f"sbe{8 * n}", n, signed=True, swap=True) for n in (2, 4, 8))
UINT = Type("uint", "VARINT", 4, np.dtype("u8"))  # 4 or 8 bytes, by the kernel's choice
SINT = Type("sint", "VARSINT", 4, np.dtype("i8"))
FLAG = Type("flag", "FLAG", 0, np.dtype("?"))  # its presence is its value
TEXT = Type("string", "TEXT", 0, storage="text")  # ends at its first NUL
NAME = Type("string", "TEXT", 0, storage="text", empty=False)  # the kernel sends an empty one for none
BYTES = Type("binary", "BYTES", 0, storage="bytes")
LLADDR = Type("lladdr", "BYTES", 0, storage="bytes", display="lladdr", longest=32)  # MAX_ADDR_LEN
ADDRESS = Type("address", "ADDRESS", 4, np.dtype("V16"), display="address")  # IPv4 mapped: ::ffff:a.b.c.d
IPV6 = Type("address", "ADDRESS", 16, np.dtype("V16"), display="address", family="inet6")
VIA = Type("via", "VIA", 6, np.dtype("V16"), display="address")  # the same, after its family
VIA6 = Type("via", "VIA", 6, np.dtype("V16"), display="address", family="inet6")  # where it is never IPv4
LABEL = Type("label", "LABEL", 4, np.dtype("u4"))  # of MPLS, with its class, TTL and end of stack beside it
LABELS = Type("labels", "BYTES", 4, storage="bytes", display="labels")  # a stack of them
TIMEVAL = Type("timeval", "TIMEVAL", 16, np.dtype("i8"), display="time")  # be64 seconds, be64 microseconds
HWADDR = Type("lladdr", "COUNTED", 4, storage="bytes", display="mac")  # be16 length, two bytes, the address
HEADER_ADDRESS = Type("address", "HEADER", 0, np.dtype("V16"), display="address")  # in a packet's header
WEIGHT = Type("weight", "WEIGHT", 2, np.dtype("u2"))  # less 1: its lower byte, its higher one


def fixed(size: int, display: Display = "hex") -> Type:
    """Exactly `size` bytes."""
    return Type(f"binary[{size}]", "FIXED", size, np.dtype(f"V{size}"), display=display)


def union_address(by: str, family: Family = "", ipv4: int = AF_INET, ipv6: int = -1) -> Type:
    """16 bytes: an IPv6 address, or IPv4's in the first 4 of them, or another member of the union.

    ipv4, ipv6: the numbers by which the field `by` says so, as this machine reads them; -1: any other.
    """
    return Type(
        "address", "UNION_ADDRESS", 16, np.dtype("V16"), display="address", family=family, by=by,
        cases=(ipv4, ipv6),
    )  # fmt: skip


def union_mac(by: str, number: int) -> Type:
    """The hardware address of a union whose 16 bytes a `union_address` has; its field follows that one's."""
    return Type("mac", "UNION_BYTES", 6, np.dtype("V6"), display="mac", by=by, cases=(number, 0), back=16)


def text(size: int) -> Type:
    """Text in `size` bytes, filled with NUL."""
    return Type(f"string[{size}]", "TEXT", size, storage="text")


# -- fields of structs ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Field:
    """A member of a struct. Without a name: padding, or a member that makes no column."""

    name: str
    type: Type
    unit: str = ""
    enum: Mapping[int, str] | None = None
    flags: Mapping[int, str] | None = None  # mask of one bit to name
    display: Display = ""
    absent: int | None = None  # this value means absence


def pad(size: int) -> Field:
    """Padding of `size` bytes."""
    return Field("", fixed(size))


# -- columns ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column: numpy's `dtype` of one value, unit, names of values or bits, whether values may be absent."""

    name: str
    dtype: np.dtype[Any]
    type: str  # on the wire
    storage: Storage = "fixed"
    list: bool = False
    unit: str = ""
    enum: Mapping[int, str] | None = field(default=None, hash=False)
    flags: Mapping[int, str] | None = field(default=None, hash=False)
    nullable: bool = True
    attribute: str = ""  # the kernel's name
    display: Display = ""
    family: Family = ""  # of addresses
    words: tuple[str, ...] = ()  # what conditions may call it as well


@dataclass(slots=True, eq=False)  # not frozen: freezing would double the cost of a small column
class Values:
    """The values of a column in Arrow's layout.

    fixed: `values` has one value per row. text, bytes: row i is values[offsets[i]:offsets[i+1]] (uint8). A
    list: row i is items offsets[i] to offsets[i+1] of `items`. `valid` is None if every row has a value.
    """

    values: np.ndarray[Any, Any] | None
    valid: np.ndarray[Any, np.dtype[np.bool_]] | None = None
    offsets: np.ndarray[Any, np.dtype[np.int32]] | None = None
    items: Values | None = None

    def __len__(self) -> int:
        if self.offsets is not None:
            return len(self.offsets) - 1
        assert self.values is not None
        return len(self.values)


OPS = {0: "new", 1: "change", 2: "del"}
ORIGINS = {0: "live", 1: "snapshot", 2: "resync", 3: "repair"}

# The first columns of every table.
NL_COLUMNS = (
    Column(name="nl_row", dtype=np.dtype("u4"), type="u32", nullable=False),
    Column(name="nl_time", dtype=np.dtype("i8"), type="s64", unit="ns", nullable=False, display="time"),
    Column(name="nl_op", dtype=np.dtype("u1"), type="u8", enum=OPS, nullable=False),
    Column(name="nl_origin", dtype=np.dtype("u1"), type="u8", enum=ORIGINS, nullable=False),
    Column(name="nl_group", dtype=np.dtype("u4"), type="u32", nullable=False),
    Column(name="nl_nsid", dtype=np.dtype("i4"), type="s32"),
)
