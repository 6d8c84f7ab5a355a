"""KEY=VALUE text to columns: the uevent schema compared with a decoder in plain Python."""

import gc
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Batch, SchemaError
from nlbus._core.columns.keyvalue import KEY, WORD, Keys, Texts
from nlbus._core.columns.store import SPEC
from nlbus.schema.compile_text import CompiledText, compiled_text
from nlbus.schema.schema import Envelope, TextSchema
from nlbus.schema.types import S8, S32, TEXT, U8, U64, Field
from nlbus.sources.uevent import SCHEMA

# Every integer width at its limits, next to uevents' own keys.
SMALL = TextSchema(
    name="small",
    keys=(
        Field("action", TEXT),
        Field("a", U8),
        Field("b", S8),
        Field("ab", S32),
        Field("c", U64),
        Field("ba", TEXT),
    ),
    required=("action", "a"),
    op="action",
    ops={"add": "new", "remove": "del"},
    env="all",
    envelope=Envelope(b"head", b"!", size=16, start=8, length=12),
)

Row = dict[str, Any]


# the expected result


def decode(schema: TextSchema, data: bytes) -> Row | None:
    """The row of a datagram, with its op; None if it has none."""
    text = unwrapped(schema, data)
    if text is None:
        return None
    pairs = [word for word in text.split(b"\0") if b"=" in word[1:]]
    pairs = [word for word in pairs if not word.startswith(b"=")]
    found = {key: value for key, _, value in (word.partition(b"=") for word in pairs)}
    if any(name.upper().encode() not in found for name in schema.required):
        return None
    row: Row = {}
    for field in schema.keys:
        value = found.get(field.name.upper().encode())
        row[field.name] = value if field.type is TEXT or value is None else number(value, field.type.dtype)
    row["nl_op"] = schema.ops.get(found.get(schema.op.upper().encode(), b"").decode("latin1"), "change")
    return row | {schema.env: pairs}


def unwrapped(schema: TextSchema, data: bytes) -> bytes | None:
    envelope = schema.envelope
    if envelope and data.startswith(envelope.begin):
        if len(data) < envelope.size or not data.startswith(envelope.begin + envelope.magic):
            return None
        (start,) = struct.unpack_from("=I", data, envelope.start)
        (length,) = struct.unpack_from("=I", data, envelope.length)
        inside = envelope.size <= start and start + length <= len(data)
        return data[start : start + length] if inside else None
    if not schema.title:
        return data
    return data.partition(b"\0")[2] if b"\0" in data else None


def number(text: bytes, dtype: np.dtype[Any]) -> int | None:
    digits = text.removeprefix(b"-") if dtype.kind == "i" else text
    if not digits or not set(digits) <= set(b"0123456789"):
        return None
    limits = np.iinfo(dtype)
    return int(text) if limits.min <= int(text) <= limits.max else None


# the actual result


def batch_of(*datagrams: bytes) -> Batch:
    return Batch.from_datagrams("uevent", datagrams, group=1)


def texts(compiled: CompiledText, batch: Batch) -> Texts:
    return Texts(compiled.program, batch.block, batch.selected)


def rows(compiled: CompiledText, found: Texts) -> list[Row]:
    table: dict[str, list[Any]] = {
        "nl_op": [("new", "change", "del")[op] for op in found.happened.tolist()],
    }
    decoded: list[Any]
    for column, cell in zip(compiled.columns, compiled.cells, strict=True):
        if cell < 0:
            continue
        values, valid, offsets, items = found.values(cell, column.dtype)
        if items is not None:
            inner, item_valid, inner_offsets = items
            assert item_valid.all()
            assert offsets is not None
            flat = cut(inner, inner_offsets)
            decoded = [flat[a:b] for a, b in pairwise(offsets)]
        elif offsets is not None:
            assert values is not None
            decoded = cut(values, offsets)
        else:
            assert values is not None
            decoded = values.tolist()
        assert column.nullable is (valid is not None)
        if valid is not None:
            decoded = [value if there else None for value, there in zip(decoded, valid, strict=True)]
        assert len(decoded) == len(found)
        table[column.name] = decoded
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def cut(values: np.ndarray[Any, Any], offsets: np.ndarray[Any, Any]) -> list[bytes]:
    assert offsets[0] == 0
    assert offsets[-1] == len(values)
    return [values[a:b].tobytes() for a, b in pairwise(offsets)]


def check(schema: TextSchema, datagrams: list[bytes]) -> None:
    datagrams = [data for data in datagrams if data]  # an empty datagram is no message
    compiled = compiled_text(schema)
    found = texts(compiled, batch_of(*datagrams))
    wanted = [decode(schema, data) for data in datagrams]
    assert rows(compiled, found) == [row for row in wanted if row is not None]
    assert found.messages.tolist() == [i for i, row in enumerate(wanted) if row is not None]
    assert found.malformed == wanted.count(None)


# real messages

KERNEL = (
    b"add@/devices/virtual/net/va\0ACTION=add\0DEVPATH=/devices/virtual/net/va\0SUBSYSTEM=net\0"
    b"INTERFACE=va\0IFINDEX=7\0SEQNUM=1234\0"
)
PROPERTIES = (
    b"ACTION=change\0DEVPATH=/devices/x\0SUBSYSTEM=block\0DEVNAME=/dev/sda\0MAJOR=8\0MINOR=0\0"
    b"ID_FS_LABEL=a=b\0SEQNUM=18446744073709551615\0"
)


def udev(properties: bytes = PROPERTIES, magic: int = 0xFEEDCAFE, start: int = 40, size: int = -1) -> bytes:
    numbers = struct.pack("=III", 40, start, len(properties) if size < 0 else size)
    return b"libudev\0" + struct.pack(">I", magic) + numbers + bytes(16) + properties


def only(data: bytes) -> Row:
    compiled = compiled_text(SCHEMA)
    [row] = rows(compiled, texts(compiled, batch_of(data)))
    return row


def test_a_kernel_event_has_a_row() -> None:
    row = only(KERNEL)
    decoded = {name: value for name, value in row.items() if value is not None}
    assert decoded == {
        "nl_op": "new",
        "action": b"add",
        "devpath": b"/devices/virtual/net/va",
        "subsystem": b"net",
        "seqnum": 1234,
        "interface": b"va",
        "ifindex": 7,
        "env": KERNEL.split(b"\0")[1:-1],
    }


def test_a_udev_event_has_a_row() -> None:
    row = only(udev())
    assert row["nl_op"] == "change"
    assert row["devname"] == b"/dev/sda"
    assert (row["major"], row["minor"]) == (8, 0)
    assert row["seqnum"] == 2**64 - 1
    assert row["env"] == PROPERTIES.split(b"\0")[:-1]


def test_a_row_has_its_messages_group_and_namespace() -> None:
    found = texts(compiled_text(SCHEMA), batch_of(b"x", KERNEL, udev()))
    assert found.messages.tolist() == [1, 2]
    assert found.groups.tolist() == [1, 1]
    assert found.nsids.tolist() == [-1, -1]
    assert found.malformed == 1


@pytest.mark.parametrize(
    "data",
    [
        KERNEL.replace(b"ACTION", b"ACTIO"),
        KERNEL.replace(b"DEVPATH", b"devpath"),
        KERNEL.partition(b"\0")[0],  # a title without pairs
        b"\0",
        b"x",
        udev(magic=0xCAFEFEED),
        udev()[:39],
        udev(start=39),
        udev(start=41),  # one byte beyond
        udev(start=0xFFFFFFFF),
        udev(size=len(PROPERTIES) + 1),
        udev(size=0xFFFFFFFF),
        udev(size=0),
        b"libudev\0" + KERNEL,
    ],
)
def test_an_invalid_event_has_no_row(data: bytes) -> None:
    found = texts(compiled_text(SCHEMA), batch_of(KERNEL, data, KERNEL))
    assert (found.rows, found.malformed) == (2, 1)
    check(SCHEMA, [KERNEL, data, KERNEL])


def test_a_devpath_with_an_equals_sign_is_not_a_key() -> None:
    row = only(b"add@/devices/a=b\0ACTION=add\0DEVPATH=/devices/a=b\0")
    assert row["devpath"] == b"/devices/a=b"
    assert row["env"] == [b"ACTION=add", b"DEVPATH=/devices/a=b"]


def test_the_last_of_two_values_counts_and_needs_no_nul() -> None:
    row = only(b"x\0ACTION=add\0DEVPATH=1\0ACTION=remove\0DEVPATH=22")
    assert (row["action"], row["devpath"], row["nl_op"]) == (b"remove", b"22", "del")


def test_an_empty_value_is_a_value() -> None:
    row = only(b"x\0ACTION=\0DEVPATH=\0DRIVER=\0SEQNUM=\0")
    assert (row["action"], row["driver"], row["seqnum"], row["devtype"]) == (b"", b"", None, None)


def test_strings_without_an_equals_sign_are_counted() -> None:
    found = texts(compiled_text(SCHEMA), batch_of(KERNEL + b"=x\0\0\0word\0"))
    assert (found.rows, found.unknown) == (1, 2)


@pytest.mark.parametrize("text", [b"", b"-", b"-1", b"+1", b" 1", b"1 ", b"0x1", b"1.", b"256", b"9" * 99])
def test_an_invalid_number_is_absent_and_marks_the_row(text: bytes) -> None:
    compiled = compiled_text(SMALL)
    found = texts(compiled, batch_of(b"ACTION=add\0A=1", b"ACTION=add\0A=" + text))
    assert found.marks.tolist() == [False, True]
    # The key is required; its value may be invalid.
    assert found.rows == 2


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("a", b"255", 255), ("a", b"0007", 7), ("b", b"-128", -128), ("b", b"127", 127), ("b", b"128", None),
        ("b", b"-129", None), ("ab", b"-2147483648", -(2**31)), ("ab", b"2147483648", None), ("b", b"-0", 0),
        ("c", b"18446744073709551615", 2**64 - 1), ("c", b"18446744073709551616", None),
        ("c", b"99999999999999999999", None),
    ],
)  # fmt: skip
def test_numbers_are_decoded_up_to_their_limits(key: str, text: bytes, value: int | None) -> None:
    compiled = compiled_text(SMALL)
    data = b"ACTION=x\0A=0\0" + key.upper().encode() + b"=" + text
    [row] = rows(compiled, texts(compiled, batch_of(data)))
    if value is not None or key != "a":
        assert row[key] == value


# columns


def test_only_requested_columns_are_decoded() -> None:
    compiled = compiled_text(SCHEMA, frozenset({"seqnum", "nl_op"}))
    assert [c.name for c, cell in zip(compiled.columns, compiled.cells, strict=True) if cell >= 0] == [
        "seqnum"
    ]
    found = texts(compiled, batch_of(KERNEL, b"x", udev()))
    assert [row["seqnum"] for row in rows(compiled, found)] == [1234, 2**64 - 1]
    assert found.malformed == 1
    with pytest.raises(SchemaError, match="no column 'seq' in table uevent: did you mean seqnum"):
        compiled_text(SCHEMA, frozenset({"seq"}))


def test_columns_outlive_the_batch_and_are_read_only() -> None:
    compiled = compiled_text(SCHEMA)
    found = texts(compiled, batch_of(KERNEL))
    cell = compiled.cells[[c.name for c in compiled.columns].index("devpath")]
    values, *_ = found.values(cell, np.dtype("V1"))
    del found
    assert values is not None
    assert values.tobytes() == b"/devices/virtual/net/va"
    with pytest.raises(ValueError, match="read-only"):
        values[:] = 0


def test_the_garbage_collector_does_not_track_them() -> None:
    """It would clear the references that they need to free their memory."""
    compiled = compiled_text(SCHEMA)
    found = texts(compiled, batch_of(KERNEL))
    assert not gc.is_tracked(found)
    assert found.happened.base is found


def test_an_empty_batch_has_no_rows() -> None:
    compiled = compiled_text(SCHEMA)
    for batch in (batch_of(), batch_of(b"x")):
        found = texts(compiled, batch)
        assert rows(compiled, found) == []


def test_selected_messages_of_a_batch_are_decoded() -> None:
    compiled = compiled_text(SCHEMA)
    batch = batch_of(KERNEL, udev(), KERNEL.replace(b"1234", b"1235"))
    found = texts(compiled, batch.select(np.array([False, True, True])))
    assert [row["seqnum"] for row in rows(compiled, found)] == [2**64 - 1, 1235]
    assert found.messages.tolist() == [0, 1]


def test_invalid_tables_are_refused() -> None:
    def make(names: list[bytes], envelope: tuple[bytes, bytes, int, int, int] | None = None) -> Keys:
        keys = np.array([(name, len(name), 0, -1, 0) for name in names], KEY)
        return Keys(
            keys=keys,
            words=np.empty(0, WORD),
            specs=np.empty(0, SPEC),
            env=-1,
            op_key=-1,
            otherwise=1,
            title=False,
            envelope=envelope,
        )

    with pytest.raises(ValueError, match="65 keys"):
        make([b"K%d" % i for i in range(65)])
    with pytest.raises(ValueError, match="a key of 0 bytes"):
        make([b""])
    with pytest.raises(ValueError, match="envelope of 8 bytes"):
        make([b"A"], (b"head", b"!", 8, 4, 8))


# arbitrary bytes

VALUES = st.sampled_from(
    [b"", b"add", b"remove", b"0", b"-1", b"-128", b"300", b"4294967296", b"a=b", b"\xff"]
)
NAMES = st.sampled_from([b"ACTION", b"DEVPATH", b"A", b"B", b"AB", b"BA", b"C", b"SEQNUM", b"X", b""])
PAIRS = st.tuples(NAMES, VALUES).map(b"=".join) | st.sampled_from([b"", b"=", b"A", b"ACTION", b"=x"])
STRINGS = st.lists(PAIRS, max_size=12).map(b"\0".join)
ANY = st.binary(max_size=80) | st.text("\0=ABCN1-", max_size=40).map(str.encode)


@st.composite
def wrapped(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    """A datagram of either schema, with its title or envelope or nearly one."""
    text = draw(inner)
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return text
    if kind == 1:
        return b"add@/x\0" + text
    small = st.integers(0, len(text) + 50)
    start = draw(st.sampled_from([16, 40, 41, 2**32 - 1]) | small)
    length = draw(st.sampled_from([len(text), 2**32 - 1]) | small)
    if kind == 2:
        return b"head!\0\0\0" + struct.pack("=II", start, length) + text
    return udev(text, start=start, size=length)


@given(st.lists(wrapped(STRINGS | ANY) | ANY, max_size=8), st.sampled_from([SMALL, SCHEMA]))
def test_any_bytes_decode_like_the_plain_decoder(datagrams: list[bytes], schema: TextSchema) -> None:
    check(schema, datagrams)


@given(st.data())
def test_a_damaged_event_decodes_like_the_plain_decoder(data: st.DataObject) -> None:
    damaged = []
    for whole in (KERNEL, udev()):
        changed = bytearray(whole[: data.draw(st.integers(1, len(whole)))])
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        damaged += [bytes(changed), whole]
    check(SCHEMA, damaged)
