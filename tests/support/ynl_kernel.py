"""Compares tables of YNL specs with the kernel's own tool for them, and with nlbus's own tables.

    python -m tests.support.ynl_kernel LINUX [SPEC ...]

LINUX is the unpacked source of a kernel (Debian: linux-source-*); its Documentation/netlink/specs and
tools/net/ynl are used where they are. Each table that the kernel lists here is read by nlbus and by pyynl,
and each value that pyynl has must be in nlbus's row. The objects are those of the caller's network namespace.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import nlbus
from nlbus import ynl
from nlbus.errors import NlbusError
from nlbus.ynl.document import Document, read, worded

SPECS = "Documentation/netlink/specs"
TOOL = "tools/net/ynl"


def compare(linux: Path, name: str) -> Iterator[tuple[str, int, int, list[str]]]:
    """For each table: its name, the rows, the values that were compared, and the differences."""
    path = linux / SPECS / f"{name}.yaml"
    document, spec = read(path), ynl.load(path)
    for schema in spec.schemas:
        if schema.dump is None:
            continue
        operation = next(each for each, table in spec.operations.items() if table == schema.name)
        try:
            theirs = dumped(linux, path, operation)
        except Exception as error:
            yield schema.name, 0, 0, [f"pyynl: {type(error).__name__}: {str(error)[:120]}"]
            continue
        try:
            ours = list(nlbus.snapshot(spec, schema.name).iter_rows())
        except NlbusError as error:
            yield schema.name, 0, 0, [f"nlbus: {error}"]
            continue
        later = dumped(linux, path, operation)
        yield schema.name, *differences(document, operation, theirs, ours, later)


def dumped(linux: Path, path: Path, operation: str) -> list[dict[str, Any]]:
    """What the kernel's tool returns."""
    if str(linux / TOOL) not in sys.path:
        sys.path.insert(0, str(linux / TOOL))
    family = import_module("pyynl.lib.ynl" if (linux / TOOL / "pyynl").is_dir() else "lib.ynl").YnlFamily
    opened = family(str(path), process_unknown=True)
    try:
        requests: list[dict[str, Any]] = [{}]
        if path.stem == "tc" and operation != "getqdisc":  # rtnetlink lists these per interface
            requests = [{"ifindex": number} for number, _ in socket.if_nameindex()]
        return [answer for request in requests for answer in opened.dump(operation, request)]
    finally:
        opened.sock.close()


def differences(
    document: Document,
    operation: str,
    theirs: list[dict[str, Any]],
    ours: list[dict[str, Any]],
    later: list[dict[str, Any]],
) -> tuple[int, int, list[str]]:
    """Rows, values that were compared, and where they differ. Clocks go on from one dump to the next."""
    of = document.operation(operation)
    struct = of.given.get("fixed-header", document.spec["operations"].get("fixed-header", ""))
    name = of.given["attribute-set"]
    first, last = ([Flat(document).message(each, name, struct) for each in dump] for dump in (theirs, later))
    found, values = [], 0
    if len(ours) not in (len(first), len(last)):
        found.append(f"{len(first)} rows of pyynl, {len(ours)} of nlbus")
    for number, (row, own, end) in enumerate(zip(first, ours, last, strict=False)):
        for column, value in row.items():
            values += 1
            if column not in own:
                found.append(f"row {number}: no column {column} ({value!r})")
            elif not (same(value, own[column]) or between(value, own[column], end.get(column))):
                found.append(f"row {number} {column}: pyynl {value!r}, nlbus {own[column]!r}")
    return len(first), values, found


def between(first: Any, ours: Any, last: Any) -> bool:
    """Whether a number went on from one dump to another, past ours."""
    if not all(isinstance(each, int) for each in (first, ours, last)):
        return same(last, ours)
    return min(first, last) <= ours <= max(first, last)


def same(theirs: Any, ours: Any) -> bool:
    """Whether two forms of a value mean the same."""
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(theirs) == len(ours) and all(map(same, theirs, ours))
    if isinstance(theirs, set | frozenset):
        return sorted(theirs) == sorted(ours or ())
    if isinstance(theirs, bytes):
        return ours is not None and theirs == (ours if isinstance(ours, bytes) else plain_bytes(ours))
    if isinstance(theirs, str) and isinstance(ours, bytes):
        return theirs.replace(" ", "").replace(":", "").replace("-", "").lower() in ("", ours.hex())
    if isinstance(theirs, str) and isinstance(ours, int):
        return theirs.startswith("0x") and int(theirs, 16) == ours
    if isinstance(theirs, str) and isinstance(ours, str) and theirs != ours:
        return as_address(theirs) == as_address(ours)
    return bool(theirs == ours)


def plain_bytes(text: str) -> bytes:
    """Bytes of their display."""
    try:
        return bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return text.encode()


def as_address(text: str) -> object:
    """An address in one form, or the text."""
    try:
        address = ip_address(text)
    except ValueError:
        return text.lower()
    return getattr(address, "ipv4_mapped", None) or address


class Flat:
    """An answer of pyynl as a row of nlbus."""

    def __init__(self, document: Document) -> None:
        self.document = document

    def message(self, answer: Mapping[str, Any], name: str, struct: str) -> dict[str, Any]:
        row: dict[str, Any] = {}
        known = self.document.set(name).attributes
        members = self.document.definition(struct, "struct")["members"] if struct else ()
        for key in {each["name"] for each in members} & answer.keys() - known.keys():
            if not key.startswith("pad") and answer[key] is not None:
                row[worded(key)] = answer[key]
        self.put(row, "", {k: v for k, v in answer.items() if k in known}, name, ())
        return row

    def put(
        self, row: dict[str, Any], lead: str, answer: Mapping[str, Any], name: str, around: tuple[Any, ...]
    ) -> None:
        """The attributes of a set."""
        known = self.document.set(name).attributes
        for key, value in answer.items():
            if key not in known:
                continue  # of no spec
            of, column = known[key], lead + worded(key)
            kind, within = of.given["type"], of.given.get("nested-attributes", "")
            scope = (*around, answer)
            if kind == "nest" and not of.given.get("multi-attr"):
                self.put(row, f"{column}_", value, within, scope)
            elif kind == "nest":
                self.items(row, f"{column}_", value, within, scope)
            elif kind == "indexed-array" and of.given.get("sub-type") == "nest":
                self.items(
                    row, f"{column}_", [item for each in value for item in each.values()], within, scope
                )
                row[f"{column}_index"] = [number for each in value for number in each]
            elif kind == "nest-type-value":
                numbers = of.given["type-value"]
                row |= {f"{column}_{worded(each)}": value[each] for each in numbers}
                self.put(
                    row, f"{column}_", {k: v for k, v in value.items() if k not in numbers}, within, scope
                )
            elif kind == "sub-message":
                self.select(row, column, value, of.given, scope)
            elif isinstance(value, dict):  # a struct, or a bit field
                self.struct(row, f"{column}_", value)
            elif of.given.get("multi-attr") and value and isinstance(value[0], dict):
                for member in value[0]:
                    row[f"{column}_{worded(member)}"] = [each[member] for each in value]
            else:
                row[column] = value

    def struct(self, row: dict[str, Any], lead: str, value: Mapping[str, Any]) -> None:
        for member, each in value.items():
            if isinstance(each, dict):
                self.struct(row, f"{lead}{worded(member)}_", each)
            elif not member.startswith("pad") and each is not None:
                row[lead + worded(member)] = each

    def items(
        self, row: dict[str, Any], lead: str, items: list[Any], name: str, around: tuple[Any, ...]
    ) -> None:
        rows = []
        for each in items:
            rows.append(dict[str, Any]())
            self.put(rows[-1], lead, each, name, around)
        for column in dict.fromkeys(column for each in rows for column in each):
            values = [each.get(column) for each in rows]
            if not any(isinstance(value, list) for value in values):  # deeper lists are bytes
                row[column] = values

    def select(
        self, row: dict[str, Any], column: str, value: Any, given: Mapping[str, Any], around: tuple[Any, ...]
    ) -> None:
        by = next((each[given["selector"]] for each in reversed(around) if given["selector"] in each), None)
        formats = {each["value"]: each for each in self.document.sub_message(given["sub-message"])}
        if by not in formats:
            return
        lead = f"{column}_{worded(str(by))}_"
        name = formats[by].get("attribute-set", "")
        known = self.document.set(name).attributes if name else {}
        self.struct(row, lead, {k: v for k, v in value.items() if k not in known})
        if name:
            self.put(row, lead, {k: v for k, v in value.items() if k in known}, name, around)


def main(linux: Path, names: list[str]) -> int:
    """Compare these specs, or all, and print the figures."""
    failed = 0
    for name in names or sorted(path.stem for path in (linux / SPECS).glob("*.yaml")):
        try:
            for table, rows, values, found in compare(linux, name):
                failed += bool(found) and rows > 0
                print(f"{name:14} {table:16} rows {rows:4} values {values:6} differ {len(found)}")
                for each in found[:5]:
                    print(f"    {each[:200]}")
        except NlbusError as error:
            print(f"{name:14} {str(error)[:200]}")
            failed += 1
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]), sys.argv[2:])))
