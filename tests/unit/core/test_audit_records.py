"""Records of audit to columns, compared with a decoder in plain Python and with `ausearch`."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch
from nlbus.sources.audit import ENCODED, KEYS, SCHEMA
from nlbus.table.table import Table
from tests.support.reference import message

SYSCALL, PATH, CWD, USER_AVC, EOE = 1300, 1302, 1307, 1107, 1320
UNSET = 0xFFFF_FFFF
Row = dict[str, Any]

RECORDS = (
    (
        SYSCALL,
        b"audit(1700000000.123:45): arch=c000003e syscall=59 success=no exit=-2 a0=5 a1=6 a2=7 a3=8 "
        b"items=2 ppid=1 pid=2 auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 "
        b'tty=(none) ses=3 comm="cat" exe="/usr/bin/cat" key=(null)',
    ),
    (CWD, b"audit(1700000000.123:45): cwd=2F746D702F6120"),
    (
        PATH,
        b'audit(1700000000.123:45): item=0 name="/etc/passwd" inode=7 dev=08:01 mode=0100644 ouid=0 ogid=0',
    ),
    (EOE, b"audit(1700000000.123:45): "),
    (
        USER_AVC,
        b'audit(1700000000.124:46): pid=9 uid=0 auid=1 ses=2 msg=\'op=hello acct=626F62 exe="/usr/bin/p" '
        b"hostname=? addr=? terminal=? res=success'\0",
    ),
)


def table(*records: tuple[int, bytes]) -> Table:
    return Batch.from_datagrams("audit", [message(kind, text) for kind, text in records]).table("record")


# -- the expected result ---------------------------------------------------------------------------------


def decode(kind: int, text: bytes) -> Row | None:
    """The row of a record, absent columns left out; None if it has none."""
    text = text.split(b"\0")[0]
    head = re.match(rb"audit\((\d+)\.(\d+):(\d+)\):", text)
    if head is None:
        return None
    seconds, ms, serial = map(int, head.groups())
    if seconds > 9_000_000_000 or ms > 999 or serial >= 1 << 64:
        return None
    found: dict[str, tuple[bytes, bool]] = {}
    rest = text[head.end() :]
    while (rest := rest.lstrip(bytes(range(33)) + b"'")) != b"":
        word = re.match(rb"([^\x00-\x20=]+)=(?:(\')|\"([^\"]*)\"?|([^\x00-\x20]*))|[^\x00-\x20]+", rest)
        assert word is not None
        name, quote, quoted, plain = word.groups()
        if name is not None and quote is None:
            value = plain.rstrip(b"'") if quoted is None else quoted
            found.setdefault(name.decode("latin1"), (value, quoted is not None))
        rest = rest[word.end() :]
    row: Row = {"type": kind, "timestamp": (seconds * 1000 + ms) * 10**6, "serial": serial}
    for field in KEYS:
        if field.name not in found or found[field.name][0] == b"(null)":
            continue
        value, quoted = found[field.name]
        if field.name in ENCODED:
            hexadecimal = not quoted and re.fullmatch(rb"(?:[0-9A-Fa-f]{2})+", value)
            row[field.name] = bytes.fromhex(value.decode()) if hexadecimal else value
        elif field.type.storage == "text":
            row[field.name] = value
        elif (number := _number(value, field.type.kind == "SINT", field.type.size)) is not None:
            row[field.name] = number
    return row


def _number(value: bytes, signed: bool, size: int) -> int | None:
    if not re.fullmatch(rb"-?\d+" if signed else rb"\d+", value):
        return None
    number, most = int(value), 1 << 8 * size
    if size == 4 and number == UNSET:
        return None
    low, high = (-most // 2, most // 2) if signed else (0, most)
    return number if low <= number < high else None


def rows(found: Table) -> list[Row]:
    """The rows as they are in the columns: text as bytes."""
    names = [column.name for column in found.columns if column.name not in ("fields",)]
    made = []
    for i in range(len(found)):
        row: Row = {}
        for name in names:
            if name.startswith("nl_") or not found.valid(name)[i]:
                continue
            value = found[name][i]
            row[name] = value.encode("utf8", "surrogateescape") if isinstance(value, str) else int(value)
        made.append(row)
    return made


def agree(*records: tuple[int, bytes]) -> None:
    expected = [row for kind, text in records if (row := decode(kind, text)) is not None]
    found = table(*records)
    assert rows(found) == expected
    assert found.malformed == len(records) - len(expected)


# -- tests -----------------------------------------------------------------------------------------------


def test_records_have_their_columns() -> None:
    agree(*RECORDS)
    first, cwd, path, end, user = table(*RECORDS).iter_rows(absent=False)
    assert (first["type"], first["comm"], first["exit"], first["syscall"]) == ("SYSCALL", "cat", -2, 59)
    assert not {"auid", "key"} & first.keys()
    assert cwd["cwd"] == "/tmp/a "
    assert (path["name"], path["inode"]) == ("/etc/passwd", 7)
    assert (end["type"], end["fields"]) == ("EOE", [])
    assert (user["op"], user["acct"], user["exe"], user["res"]) == ("hello", "bob", "/usr/bin/p", "success")
    assert user["fields"][-1] == "res=success"


PIECES = st.sampled_from(
    [
        b"pid=", b"uid=", b"comm=", b"exe=", b"exit=", b"msg=", b"key=", b"=", b" ", b"'", b'"',
        b"4294967295", b"41", b"-7", b"6162", b"zz", b"\0", b"(null)", b"99999999999", b"\n", b"\xff",
        b"name=",
    ]
)  # fmt: skip
HEADS = st.sampled_from(
    [b"audit(1.5:1): ", b"audit(1700000000.999:18446744073709551615):", b"audit(", b"", b"audit(1.1000:1): "]
)
TEXTS = st.tuples(HEADS, st.lists(PIECES, max_size=12)).map(lambda made: made[0] + b"".join(made[1]))


@given(st.lists(TEXTS, min_size=1, max_size=3))
def test_any_text_decodes_like_the_reference(texts: list[bytes]) -> None:
    agree(*((SYSCALL, text) for text in texts))


@given(st.binary(max_size=60))
def test_any_bytes_decode_like_the_reference(text: bytes) -> None:
    agree((SYSCALL, text), (PATH, b"audit(1.5:1): " + text))


def test_values_are_those_that_ausearch_interprets(tmp_path: Path) -> None:
    tool = shutil.which("ausearch", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        pytest.skip("no `ausearch` command: install auditd")
    log = tmp_path / "log"
    names = SCHEMA.records or {}
    texts = [(names[kind], text.rstrip(b"\0").decode()) for kind, text in RECORDS]
    log.write_text("".join(f"type={name} msg={text}\n" for name, text in texts))
    said = subprocess.run([tool, "-i", "-if", log], capture_output=True, text=True, check=True).stdout
    theirs = {line.split()[0].removeprefix("type="): line for line in said.splitlines() if "type=" in line}
    for row in table(*RECORDS).iter_rows(absent=False):
        line = theirs.get(row["type"])
        if line is None:  # it leaves out what ends an event
            assert row["type"] == "EOE"
            continue
        assert f":{row['serial']})" in line
        for name in ("pid", "ppid", "exit", "comm", "exe", "name", "inode", "cwd", "acct", "op", "res"):
            if name in row and not (name == "exit" and row[name] < 0):
                assert f"{name}={str(row[name]).strip()}" in line
