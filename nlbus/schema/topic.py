"""Topic: the fields of one kind of event, which both ends import; and the same as a C struct."""

import re
from collections.abc import Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from nlbus._core.block import HEADER_BYTES, MAX_DATAGRAM
from nlbus._text import html_table, html_text
from nlbus.errors import SchemaError
from nlbus.kernel.arguments import integer, shown
from nlbus.kernel.groups import Groups

MAX_RECORD = MAX_DATAGRAM - HEADER_BYTES
_U32_MAX = 0xFFFF_FFFF

_Dtype = np.dtype[Any]


@dataclass(frozen=True, init=False)
class Topic:
    """One kind of event: its name, fields, groups and type number.

    `fields` is a structured dtype, or whatever numpy turns into one; a record has at most 32,352 bytes.
    `fingerprint` (64 bits, never 0) depends on the fields alone, the same on every machine.
    SchemaError names the field that does not fit.

    In a table, each field is a column: S and U are text, datetime64 is a time in UTC, timedelta64 an integer
    with its unit (NaT is null), float16 wider, an array of u1 bytes, any other array a list, flat if it has
    several dimensions. A nested struct's name and `_` come before the names of its fields. No name begins
    with nl_.
    """

    name: str
    dtype: _Dtype
    groups: Groups  # 1..32, at least one
    type: int  # 32 bits
    fingerprint: int

    def __init__(
        self, name: str, fields: DTypeLike, *, groups: int | Iterable[int] | Groups, type: int = 0
    ) -> None:
        if not isinstance(name, str) or not _is_name(name):
            raise SchemaError(f"a topic has a name in UTF-8, not {shown(name)}")
        wanted = Groups.of(groups)
        if not wanted:
            raise SchemaError(f"topic {name!r} has no groups: give at least one")
        wanted.mask  # noqa: B018 - raises above 32
        number = integer(type, f"the type of topic {name!r}")
        if not 0 <= number <= _U32_MAX:
            raise SchemaError(f"the type of topic {name!r} is {shown(number)}: it has 32 bits, unsigned")
        try:
            dtype = _structured(name, fields)
            hashed = fingerprint(dtype)
        except RecursionError:
            raise SchemaError(f"topic {name!r}: its fields are nested too deep") from None
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "groups", wanted)
        object.__setattr__(self, "type", number)
        object.__setattr__(self, "fingerprint", hashed)

    def _repr_html_(self) -> str:
        fields = [(leaf.name, str(leaf.dtype), "x".join(map(str, leaf.dims))) for leaf in leaves(self.dtype)]
        about = f"Topic {self.name}: type {self.type:#x}, groups {', '.join(map(str, self.groups))}"
        size = f"{self.dtype.itemsize} bytes a record, fingerprint {self.fingerprint:#018x}"
        return f"<div>{html_text(about)}<br>{size}{html_table(('field', 'type', 'array'), fields)}</div>"

    def c_header(self) -> str:
        """Return a C header that declares this topic for a kernel module: numbers and the record's struct.

        SchemaError where the topic's or a field's name cannot be a C name.
        """
        return _c_header(self)


def fingerprint(dtype: _Dtype) -> int:
    """Return the 64-bit hash of a structured dtype: names, formats, byte order, offsets, shapes, itemsize."""
    from hashlib import blake2b  # noqa: PLC0415 - it loads OpenSSL

    digest = blake2b(_canonical(dtype).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little") or 1  # 0 on the wire: no schema


def _canonical(dtype: _Dtype) -> str:
    """Return the text to hash. The hash is part of the wire format: tests pin it."""
    base, shape = _unshaped(dtype)
    text = base.str  # with the byte order, "<" or ">", of this dtype whatever the host's
    if base.names is not None:
        members = (
            f"{len(name)}:{name}@{offset}={_canonical(member)}" for name, member, offset in _members(base)
        )
        text = f"{{{base.itemsize};{';'.join(members)}}}"
    return text + "".join(f"[{n}]" for n in shape)


def _members(dtype: _Dtype) -> Iterator[tuple[str, _Dtype, int]]:
    """Yield (name, dtype, offset) for each field, in declared order."""
    for name in dtype.names or ():
        assert dtype.fields is not None
        member, offset = dtype.fields[name][:2]
        yield name, member, offset


def _unshaped(dtype: _Dtype) -> tuple[_Dtype, tuple[int, ...]]:
    shape: tuple[int, ...] = ()
    while dtype.subdtype is not None:
        dtype, inner = dtype.subdtype
        shape += inner
    return dtype, shape


def _structured(topic: str, fields: DTypeLike) -> _Dtype:
    """Return the fields as a dtype of our own, checked."""
    _check_unnamed(topic, fields)
    try:
        dtype = deepcopy(np.dtype(fields))  # field names can be assigned to, even after np.dtype(copy=True)
    except (TypeError, ValueError, SyntaxError, OverflowError, KeyError, AttributeError) as error:
        raise SchemaError(f"topic {topic!r}: numpy makes no dtype of its fields: {error}") from error
    if dtype.names is None:
        raise SchemaError(f"topic {topic!r} needs named fields, as in [('value', '<f8')], not {dtype}")
    _check(topic, "", dtype)
    _check_columns(topic, dtype)
    if dtype.itemsize > MAX_RECORD:
        last = max(_members(dtype), key=lambda member: member[2] + member[1].itemsize)
        raise SchemaError(
            f"topic {topic!r}: a record of {dtype.itemsize} bytes is over the limit of {MAX_RECORD}"
            f" (field {last[0]!r} takes {last[1].itemsize})"
        )
    return dtype


def _check_unnamed(topic: str, fields: object) -> None:
    """Refuse fields without a name, which numpy would call f0, f1 and so on."""
    for field in fields if isinstance(fields, list) else ():
        if isinstance(field, tuple) and len(field) > 1:
            if field[0] == "":
                raise SchemaError(f"topic {topic!r} has a field without a name")
            _check_unnamed(topic, field[1])


def _is_name(name: str) -> bool:
    """Whether Arrow and C can have this name: some text in UTF-8 without NUL."""
    return bool(name) and "\0" not in name and not any("\ud800" <= c <= "\udfff" for c in name)


# The types of fields: kind -> sizes (None: any). Long doubles and complex numbers have no fixed layout.
_KINDS: dict[str, tuple[int, ...] | None] = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8),
    "M": (8,),
    "m": (8,),
    "S": None,
    "U": None,
}


def _check(topic: str, path: str, dtype: _Dtype) -> None:
    """Refuse a dtype that cannot be sent; `path` is the dotted name of the field."""
    where = f"topic {topic!r}: field {path!r}" if path else f"topic {topic!r}"
    base, _ = _unshaped(dtype)
    if base.hasobject and base.names is None:
        raise SchemaError(f"{where} is {base}: objects of Python cannot be sent")
    if base.names is None:
        if base.kind not in _KINDS:
            raise SchemaError(f"{where} is {base}, which cannot be sent")
        sizes = _KINDS[base.kind]
        if sizes is not None and base.itemsize not in sizes:
            raise SchemaError(f"{where} is {base}, which differs between machines")
    end, previous = 0, ""
    for name, member, offset in sorted(_members(base), key=lambda m: m[2]):
        full = f"{path}.{name}" if path else name
        if not _is_name(name):
            raise SchemaError(f"topic {topic!r}: {full!r} is no name of a field: give text in UTF-8")
        _check(topic, full, member)
        if offset < end:
            raise SchemaError(f"topic {topic!r}: field {full!r} overlaps {previous!r}")
        end, previous = offset + member.itemsize, full
    if dtype.itemsize == 0 or base.names == ():
        raise SchemaError(f"{where} is {dtype}: it holds nothing")


# columns


class Leaf(NamedTuple):
    """A field that is no struct: its column, and its place."""

    name: str
    path: tuple[str, ...]
    dtype: _Dtype  # of one value; V: an array of bytes
    dims: tuple[int, ...]  # of the array that it is or lies in


def leaves(dtype: _Dtype) -> Iterator[Leaf]:
    """Yield the leaves of a structured dtype in declared order."""
    return _leaves(dtype, (), ())


def _leaves(dtype: _Dtype, path: tuple[str, ...], dims: tuple[int, ...]) -> Iterator[Leaf]:
    for name, member, _ in _members(dtype):
        base, shape = _unshaped(member)
        there = (*path, name)
        if base.names is not None:
            yield from _leaves(base, there, dims + shape)
        elif base == np.uint8 and len(shape) == 1:
            yield Leaf("_".join(there), there, np.dtype(f"V{shape[0]}"), dims)
        else:
            yield Leaf("_".join(there), there, base, dims + shape)


def _check_columns(topic: str, dtype: _Dtype) -> None:
    found: dict[str, str] = {}
    for leaf in leaves(dtype):
        path = ".".join(leaf.path)
        if leaf.name.startswith("nl_"):
            raise SchemaError(f"topic {topic!r}: field {path!r}: columns nl_... are nlbus's own")
        if leaf.name in found:
            raise SchemaError(f"topic {topic!r}: fields {found[leaf.name]!r} and {path!r} are one column")
        found[leaf.name] = path


# C

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_C_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile
    while _Alignas _Alignof _Atomic _Bool _Complex _Generic _Imaginary _Noreturn _Static_assert _Thread_local
    alignas alignof bool constexpr false nullptr static_assert thread_local true typeof_unqual
    asm typeof
"""
_MACROS = "linux unix i386 current"  # of compilers and of the kernel
_RESERVED = frozenset(f"{_C_KEYWORDS} {_MACROS}".split())
_FLOATS = {4: "float", 8: "double"}
_NUMBERS_COMMENT = "the kernel must not compute with it"


def _c_header(topic: Topic) -> str:
    name = topic.name
    if not _IDENTIFIER.fullmatch(name):
        raise SchemaError(f"topic {name!r} is not a C identifier")
    if name == "batch":
        raise SchemaError("topic 'batch' would be struct nlbus_batch, which is the wire's own")
    upper = f"NLBUS_{name.upper()}"
    return "\n".join(
        [
            f"/* Topic {name}, made by nlbus from its Python fields: change them there. */",
            f"#ifndef _{upper}_H",
            f"#define _{upper}_H",
            "",
            "#include <linux/types.h>",
            "",
            f"#define {upper}_TYPE\t\t{topic.type:#x}U",
            f"#define {upper}_GROUPS\t{topic.groups.mask:#x}U\t/* bit g - 1 is group g */",
            f"#define {upper}_FINGERPRINT\t{topic.fingerprint:#018x}ULL",
            "",
            f"struct nlbus_{name} {{",
            *_c_struct(topic.dtype, "", "\t"),
            f"}}{' __attribute__((packed))' if _packed(topic.dtype) else ''};",
            "",
            f"_Static_assert(sizeof(struct nlbus_{name}) == {topic.dtype.itemsize},",
            f'\t       "struct nlbus_{name} is {topic.dtype.itemsize} bytes in Python");',
            "",
            f"#endif /* _{upper}_H */",
            "",
        ]
    )


def _c_struct(dtype: _Dtype, path: str, indent: str) -> list[str]:
    """Return the lines of the members; padding fills numpy's gaps."""
    lines: list[str] = []
    taken = set(dtype.names or ())
    end = 0
    for name, member, offset in sorted(_members(dtype), key=lambda m: m[2]):
        full = f"{path}.{name}" if path else name
        if not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            raise SchemaError(f"field {full!r} cannot be the name of a C member")
        lines += _c_padding(end, offset, taken, indent)
        lines += _c_member(name, member, full, indent)
        end = offset + member.itemsize
    return lines + _c_padding(end, dtype.itemsize, taken, indent)


def _c_padding(start: int, end: int, taken: set[str], indent: str) -> list[str]:
    if start == end:
        return []
    name = f"__pad{start}"
    while name in taken:
        name = f"_{name}"
    return [f"{indent}__u8\t{name}[{end - start}];"]


def _c_member(name: str, dtype: _Dtype, path: str, indent: str) -> list[str]:
    base, shape = _unshaped(dtype)
    if base.names is not None:
        body = _c_struct(base, path, indent + "\t")
        dims = "".join(f"[{n}]" for n in shape)
        attribute = "__attribute__((packed)) " if _packed(base) else ""
        return [f"{indent}struct {{", *body, f"{indent}}} {attribute}{name}{dims};"]
    if base.kind == "S":
        shape += (base.itemsize,)
    elif base.kind == "U":
        shape += (base.itemsize // 4,)
    dims = "".join(f"[{n}]" for n in shape)
    kind, comment = _c_type(base)
    return [f"{indent}{kind}\t{name}{dims};" + (f"\t/* {comment} */" if comment else "")]


def _c_type(base: _Dtype) -> tuple[str, str]:
    """Return the C type of a scalar (of one character of text), and a comment."""
    size = 4 if base.kind == "U" else base.itemsize
    bits = 8 * size
    comment = {
        "b": "bool: 0 or 1",
        "f": f"float of {bits} bits: {_NUMBERS_COMMENT}",
        "M": f"{base.name}, the least value is NaT",
        "m": f"{base.name}, the least value is NaT",
        "U": "text in UTF-32, filled with zeros",
        "S": "text, filled with zeros",
    }.get(base.kind, "")
    if base.kind == "S":
        return "char", comment
    if not base.isnative:
        order = "be" if base.str[0] == ">" else "le"
        return f"__{order}{bits}", comment or ("signed" if base.kind == "i" else "")
    if base.kind == "f" and size > 2:
        return _FLOATS[size], comment
    return f"__{'s' if base.kind in 'iMm' else 'u'}{bits}", comment


def _alignment(dtype: _Dtype) -> int:
    """Return the natural alignment in C of a member."""
    base, _ = _unshaped(dtype)
    if base.names is not None:
        return 1 if _packed(base) else max(_alignment(member) for _, member, _ in _members(base))
    if base.kind == "S":
        return 1
    return 4 if base.kind == "U" else base.itemsize


def _packed(dtype: _Dtype) -> bool:
    """Whether numpy's offsets or size differ from those of the C struct with its gaps filled."""
    members = [(_alignment(member), offset) for _, member, offset in _members(dtype)]
    widest = max(alignment for alignment, _ in members)
    return dtype.itemsize % widest != 0 or any(offset % alignment for alignment, offset in members)
