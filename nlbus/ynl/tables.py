"""The operations of a spec as tables: what lists objects, and what notifies of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from nlbus.errors import SchemaError
from nlbus.schema.columns import columns_of
from nlbus.schema.manners import Op as Happened
from nlbus.schema.schema import Attr, Dump, Entry, Filter, Op, Schema
from nlbus.schema.types import Field, pad
from nlbus.ynl.document import Document, Operation, worded
from nlbus.ynl.entries import entries_of
from nlbus.ynl.values import struct_fields

GENLMSGHDR = (pad(4),)  # command, version, reserved
MADE = frozenset(("new", "add", "create", "created", "added"))
GONE = frozenset(("del", "delete", "deleted", "rem", "remove", "removed", "destroy", "destroyed"))
UNSPOKEN = frozenset(("get", "ntf"))  # words of operations that name no object
NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12


@dataclass(slots=True)
class Plan:
    """A table before it is a schema."""

    name: str
    of: Operation  # whose attributes its rows have
    ops: dict[int, Happened] = field(default_factory=dict)  # by the number of the message
    groups: list[str] = field(default_factory=list)


def plans(document: Document) -> list[Plan]:
    """A table for each kind of object that the kernel lists or notifies of."""
    found: dict[str, Plan] = {}
    by_reply: dict[int, Plan] = {}
    for each in document.operations:
        if each.reply is not None and ("event" in each.given or lists(document, each)):
            _add(document, each, found, by_reply)
    for each in document.operations:
        if "notify" in each.given:
            of = document.operation(each.given["notify"])
            plan = by_reply.get(-1 if of.reply is None else of.reply) or _add(document, of, found, by_reply)
            if plan is not None and each.reply is not None:
                plan.ops.setdefault(each.reply, happened(each.name))
                _group(plan, each)
        elif each.reply is not None and each.reply not in by_reply and "get" in each.name:
            document.limit(each.name, "answers one request (do) and lists nothing: it is no table")
    if document.raw:
        _add_deletions(document, found)
    return list(found.values())


def lists(document: Document, of: Operation) -> bool:
    """Whether the operation lists objects. All that get something from rtnetlink do, whatever a spec says."""
    gets = "do" in of.given and of.name.startswith("get") and document.spec.get("protonum") == NETLINK_ROUTE
    return "dump" in of.given or (document.raw and gets)


def _add(document: Document, of: Operation, found: dict[str, Plan], by_reply: dict[int, Plan]) -> Plan | None:
    if of.reply is None:
        return None
    name = object_name(of.name, document.name)
    if of.reply in by_reply:
        document.limit(
            of.name, f"its messages have the number of table {by_reply[of.reply].name}: they are rows of it"
        )
        return None
    if name in found:
        name = worded(of.name)
    plan = found[name] = by_reply[of.reply] = Plan(name, of)
    plan.ops[of.reply] = happened(of.name) if "event" in of.given else "new"
    _group(plan, of)
    return plan


def _group(plan: Plan, of: Operation) -> None:
    group = of.given.get("mcgrp")
    if group and group not in plan.groups:
        plan.groups.append(group)


def _add_deletions(document: Document, found: Mapping[str, Plan]) -> None:
    """rtnetlink and netfilter notify with the number of the request that does the same: RTM_DELLINK."""
    if document.spec.get("protonum") not in (NETLINK_ROUTE, NETLINK_NETFILTER):
        return
    taken = {number for plan in found.values() for number in plan.ops}
    for each in document.operations:
        if happened(each.name) == "del" and each.request is not None and each.request not in taken:
            for plan in found.values():
                if f"del{plan.name.replace('_', '')}" == each.name.replace("-", ""):
                    plan.ops[each.request] = "del"


def object_name(operation: str, family: str) -> str:
    """The object that an operation is about: link of getlink, dev of dev-get and dev-add-ntf."""
    words = [word for word in operation.split("-") if word not in UNSPOKEN]
    if words and words[0].startswith("get") and len(words[0]) > len("get"):
        words[0] = words[0].removeprefix("get")
    return worded("-".join(words) or family)


def happened(operation: str) -> Happened:
    """What a notification reports, by its name."""
    words = set(operation.split("-"))
    for known, op in ((MADE, "new"), (GONE, "del")):
        if words & known or operation.startswith(("new", "del")[op == "del"]):
            return "new" if op == "new" else "del"
    return "change"


# -- schemas ----------------------------------------------------------------------------------------------


def schema_of(
    document: Document, plan: Plan, key: Sequence[str] | None, like: Schema | None, family: int
) -> Schema:
    """The table's schema. like: nlbus's own of the same messages, which knows more of the kernel.

    family: the number of the family, of generic netlink. SchemaError.
    """
    structs = document.spec["operations"].get("fixed-header", "")
    struct = plan.of.given.get("fixed-header", structs)
    fields = tuple(struct_fields(document, struct)) if struct else ()
    header = fields if document.raw else (*GENLMSGHDR, *fields)
    content = (_set_of(document, plan.of), struct)
    if content not in document.entries:
        document.entries[content] = entries_of(document, content[0], header)
    entries = document.entries[content]
    schema = Schema(
        name=plan.name,
        ops=tuple(_ops(plan, like, family)),
        header=header,
        entries=entries,
        groups=tuple(like.groups) if like is not None else tuple(plan.groups),
        selector=like.selector if like is not None else None,
        unless=like.unless if like is not None else None,
        dump=_dump(document, plan, header, entries, family),
        about=_about(plan.of),
    )
    columns = columns_of(schema)
    if key is None:
        return replace(schema, key=_key(document, plan, columns))
    for name in key:
        if name not in columns:
            raise SchemaError(f"key {name!r} of table {plan.name} is none of its columns")
    return replace(schema, key=tuple(key))


def _set_of(document: Document, of: Operation) -> str:
    if "attribute-set" in of.given:
        return str(of.given["attribute-set"])
    if "notify" in of.given:
        return _set_of(document, document.operation(of.given["notify"]))
    raise document.wrong(f"operation {of.name} has no attribute-set")


def _ops(plan: Plan, like: Schema | None, family: int) -> Iterator[Op]:
    if like is not None:
        yield from like.ops
        return
    for number, op in plan.ops.items():
        yield Op(number, op) if family < 0 else Op(family, op, command=number)


def _dump(
    document: Document,
    plan: Plan,
    header: Sequence[Field],
    entries: Sequence[Entry],
    family: int,
) -> Dump | None:
    if not lists(document, plan.of):
        return None
    size = sum(each.type.size for each in header)
    request = (plan.of.given.get("dump") or {}).get("request") or {}
    wanted = int(request.get("value", plan.of.request or 0))
    if document.raw:
        return Dump(wanted, (bytes(size),))
    version = int(document.spec.get("version", 1))
    return Dump(family, (bytes([wanted, version]).ljust(size, b"\0"),), tuple(_filters(plan, entries)))


def _filters(plan: Plan, entries: Sequence[Entry]) -> Iterator[Filter]:
    """The attributes of the request that its answers have as well: the kernel lists rows with that value."""
    asked = set(plan.of.attributes("dump", "request"))
    replied = set(plan.of.attributes("dump", "reply") or plan.of.attributes("do", "reply"))
    names = {worded(name) for name in asked & replied}
    for each in entries:
        if isinstance(each, Attr) and each.column in names and each.type.kind in ("UINT", "UINT_BE"):
            big = each.type.kind == "UINT_BE"
            yield Filter(each.column, each.type.size, number=each.number, big_endian=big)


def _key(document: Document, plan: Plan, columns: Mapping[str, object]) -> tuple[str, ...]:
    """What a request for one object names, if each answer has it. Of raw protocols that says little."""
    asked = [] if document.raw else plan.of.attributes("do", "request")
    replied = set(plan.of.attributes("do", "reply"))
    found = tuple(map(worded, asked))
    return found if set(asked) <= replied and all(name in columns for name in found) else ()


def _about(of: Operation) -> str:
    sentence = " ".join(str(of.given.get("doc", "")).split()).split(". ")[0]
    return sentence.rstrip(".")[:100]
