"""The types of a spec's attributes and struct members as types of columns."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from nlbus.schema import types
from nlbus.schema.types import (
    ADDRESS,
    BYTES,
    FLAG,
    IPV6,
    LLADDR,
    SINT,
    TEXT,
    UINT,
    Display,
    Field,
    Type,
    fixed,
    text,
)
from nlbus.ynl.document import Document, worded

SCALARS: dict[str, Type] = {"uint": UINT, "sint": SINT} | {
    f"{sign}{bits}": getattr(types, f"{sign.upper()}{bits}") for sign in "us" for bits in (8, 16, 32, 64)
}
BIG_ENDIAN: dict[str, Type] = {
    f"{sign}{bits}": getattr(types, f"{'S' if sign == 's' else ''}BE{bits}")
    for sign in "us"
    for bits in (16, 32, 64)
}
IPV4 = "ipv4"
ADDRESSES = (IPV4, "ipv6", "ipv4-or-v6")
HARDWARE = ("mac", "fddi")
FOREIGN = {"little": "big-endian", "big": "little-endian"}[sys.byteorder]


def scalar(given: Mapping[str, Any]) -> Type | None:
    """The type of an integer; None for no integer."""
    name, hint = given.get("sub-type", given["type"]), given.get("display-hint")
    if name not in SCALARS:
        return None
    if name == "u32" and hint == IPV4 and given.get("byte-order") == "big-endian":
        return ADDRESS
    if given.get("byte-order") == FOREIGN and name in BIG_ENDIAN and sys.byteorder == "little":
        return BIG_ENDIAN[name]
    return SCALARS[name]


def attribute_type(given: Mapping[str, Any]) -> Type | None:
    """The type of an attribute, or of the items of a list, that is one value; None for any other."""
    name = given.get("sub-type", given["type"])
    if name == "string":
        return TEXT
    if name == "flag":
        return FLAG
    if name != "binary":
        return scalar(given)
    hint = given.get("display-hint")
    if hint in ADDRESSES:
        return IPV6 if hint == "ipv6" else ADDRESS
    return LLADDR if hint in HARDWARE else BYTES


def looks(document: Document, given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The names of values, or the display, of an attribute or a member, as arguments of Attr and Field."""
    hint = given.get("display-hint")
    display: Display = "hex" if hint in ("hex", "uuid") else ""
    if given.get("sub-type", given["type"]) == "binary" and hint not in (*ADDRESSES, *HARDWARE):
        display = "hex"
    if "enum" in given:
        values = document.values(given["enum"])
        if document.has_flags(given["enum"]) or given.get("enum-as-flags"):
            return {"flags": {1 << bit: value for bit, value in values.items() if 0 <= bit < 64}}
        return {"enum": values}
    if given["type"] in ("u32", "s32") and (name == "ifindex" or name.endswith("-ifindex")):
        display = "interface"
    return {"display": display} if display else {}


def struct_fields(document: Document, name: str, lead: str = "") -> list[Field]:
    """The members of a struct, those of structs in it behind their name."""
    found = []
    for member in document.definition(name, "struct")["members"]:
        word = f"{lead}{worded(member['name'])}"
        if "struct" in member:
            found += struct_fields(document, member["struct"], f"{word}_")
            continue
        type = _member_type(document, member, f"{name}.{member['name']}")
        if type is None:
            document.limit(
                f"{name}.{member['name']}", "no size is given: this member and those behind it are left out"
            )
            break
        named = "" if member["type"] == "pad" else word
        more = {} if type.storage == "text" else looks(document, member, member["name"])
        if type.kind == "FIXED" and more.get("display") == "hex":
            more = {}
        found.append(Field(named, type, **(more if named else {})))
    return found


def _member_type(document: Document, member: Mapping[str, Any], place: str) -> Type | None:
    kind, hint = member["type"], member.get("display-hint")
    if kind in SCALARS and kind not in ("uint", "sint"):
        return scalar(member)
    size = document.constant(member["len"], place) if "len" in member else None
    if not size or kind not in ("binary", "pad", "string"):
        return None
    if kind == "string":
        return text(size)
    if hint in ADDRESSES and size in (4, 16):
        return IPV6 if size == 16 else ADDRESS
    return fixed(size, "mac" if hint in HARDWARE and size == 6 else "hex")
