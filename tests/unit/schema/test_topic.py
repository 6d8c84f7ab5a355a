"""Topic: the records it accepts, its fingerprint, and the byte-identical C struct."""

import dataclasses
import pickle
import re
import shutil
import subprocess
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlbus.errors import SchemaError
from nlbus.kernel.groups import Groups
from nlbus.schema.topic import MAX_RECORD, Topic

UAPI = Path(__file__).parents[3] / "kmod/uapi/nlbus.h"
FLAGS = ["-std=gnu11", "-Wall", "-Werror", "-ffreestanding"]
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc to compile the header with")


def topic(fields: Any, name: str = "t") -> Topic:
    return Topic(name, fields, groups=1)


# what a topic is


def test_a_topic_keeps_its_arguments() -> None:
    tick = Topic("tick", [("id", "<u8"), ("px", "<f8")], groups=(3, 1), type=0x100)
    assert (tick.name, tick.groups, tick.type) == ("tick", Groups(1, 3), 0x100)
    assert tick.dtype == np.dtype([("id", "<u8"), ("px", "<f8")])
    assert tick == Topic("tick", np.dtype([("id", "<u8"), ("px", "<f8")]), groups={1, 3}, type=256)
    assert tick != Topic("tick", tick.dtype, groups=1, type=0x100)
    assert hash(tick) == hash(pickle.loads(pickle.dumps(tick)))


def test_a_topic_is_immutable() -> None:
    fields = np.dtype([("a", "<u4")])
    frozen = topic(fields)
    fields.names = ("b",)
    assert frozen.dtype.names == ("a",)
    with pytest.raises(dataclasses.FrozenInstanceError):
        frozen.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"groups": ()}, "no groups"),
        ({"groups": 0}, "numbered from 1"),
        ({"groups": 33}, "33"),
        ({"groups": 1, "type": -1}, "32 bits"),
        ({"groups": 1, "type": 2**32}, "32 bits"),
        ({"groups": 1, "type": True}, "integer"),
        ({"groups": 1, "type": "1"}, "integer"),
        ({"groups": 1, "name": ""}, "name"),
        ({"groups": 1, "name": 5}, "name"),
    ],
)
def test_names_groups_and_types_out_of_range_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Topic(**{"name": "t", "fields": [("a", "u1")]} | keywords)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([("ok", "u1"), ("bad", "O")], "'bad'"),
        ([("in", [("bad", "O")])], "'in.bad'"),
        ([("in", [("bad", "O", 2)], 3)], "'in.bad'"),
        ([("bad", "c8")], "'bad'"),
        ([("bad", "V3")], "'bad'"),
        ([("bad", "S0")], "'bad'"),
        ([("bad", "u1", (0,))], "'bad'"),
        ([("bad", [])], "'bad'"),
        ([("bad", "u1"), ("big", "u1", MAX_RECORD)], "'big'"),
        ({"names": ["a", "bad"], "formats": ["u4", "u4"], "offsets": [0, 2]}, "'bad' overlaps 'a'"),
        ([], "holds nothing"),
        ({"names": [], "formats": [], "itemsize": 8}, "holds nothing"),
        ("f8", "named fields"),
        ("O", "named fields"),
        (None, "named fields"),
        ("zz", "numpy"),
        ("i4,,", "numpy"),
        (5, "numpy"),
        ([("a", "u1"), ("a", "u1")], "numpy"),
    ],
)
def test_fields_that_cannot_be_sent_are_refused_by_name(fields: Any, named: str) -> None:
    with pytest.raises(SchemaError, match=named):
        topic(fields)


@pytest.mark.skipif(np.dtype("longdouble").itemsize == 8, reason="long double is double on this machine")
def test_long_doubles_are_refused_because_they_differ_between_machines() -> None:
    with pytest.raises(SchemaError, match="'bad'"):
        topic([("bad", "longdouble")])


def test_the_largest_record_fits_a_datagram_with_its_headers() -> None:
    limit = re.search(r"define NLBUS_MAX_DATAGRAM\s+(\d+)", UAPI.read_text())
    assert limit is not None
    assert int(limit[1]) - 96 == MAX_RECORD
    assert topic([("a", "u1", MAX_RECORD)]).dtype.itemsize == MAX_RECORD


# the fingerprint


@pytest.mark.parametrize(
    ("fields", "text", "expected"),
    [
        ([("id", "<u8"), ("px", "<f8")], "{16;2:id@0=<u8;2:px@8=<f8}", 0xE3905FBE68FD7983),
        ([("id", ">u8"), ("px", "<f8")], "{16;2:id@0=>u8;2:px@8=<f8}", 0x5CED195FE397E0B5),
        (
            [("a", "?"), ("b", "S5"), ("c", "<U2"), ("d", "<M8[ns]"), ("e", "<f2")],
            "{24;1:a@0=|b1;1:b@1=|S5;1:c@6=<U2;1:d@14=<M8[ns];1:e@22=<f2}",
            0x4D5B9346FD53B626,
        ),
        (
            [("p", [("x", "<i2"), ("y", "i1")], (2, 3))],
            "{18;1:p@0={3;1:x@0=<i2;1:y@2=|i1}[2][3]}",
            0x4F572AAAD8E16CBA,
        ),
        (
            np.dtype([("a", "u1"), ("b", "<u4")], align=True),
            "{8;1:a@0=|u1;1:b@4=<u4}",
            0xFE8E0FF908CD0CB2,
        ),
    ],
)
def test_the_fingerprint_is_the_same_on_every_machine_for_ever(fields: Any, text: str, expected: int) -> None:
    assert topic(fields).fingerprint == expected
    assert int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little") == expected


def test_the_fingerprint_is_never_0_which_means_no_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zero:
        def digest(self) -> bytes:
            return bytes(8)

    monkeypatch.setattr("hashlib.blake2b", lambda text, digest_size: Zero())
    assert topic([("a", "u1")]).fingerprint == 1


def test_the_fingerprint_depends_on_the_fields_alone() -> None:
    fields = [("a", "<u4")]
    one = Topic("one", fields, groups=1, type=1)
    assert one.fingerprint == Topic("two", fields, groups=2, type=2).fingerprint
    assert 0 < one.fingerprint < 2**64


@pytest.mark.parametrize(
    "other",
    [
        [("a", "<u4"), ("c", "<u2")],
        [("a", "<i4"), ("b", "<u2")],
        [("a", ">u4"), ("b", "<u2")],
        [("b", "<u2"), ("a", "<u4")],
        [("a", "<u4"), ("b", "<u2", (1,))],
        [("a", "<u4"), ("b", [("b", "<u2")])],
        {"names": ["a", "b"], "formats": ["<u4", "<u2"], "offsets": [2, 0]},
        {"names": ["a", "b"], "formats": ["<u4", "<u2"], "offsets": [0, 4], "itemsize": 8},
        {"names": ["a", "b"], "formats": ["<u4", "<u2"], "offsets": [0, 6]},
    ],
)
def test_any_change_of_the_fields_changes_the_fingerprint(other: Any) -> None:
    assert topic(other).fingerprint != topic([("a", "<u4"), ("b", "<u2")]).fingerprint


def test_names_cannot_imitate_structure() -> None:
    assert topic([("a@0=<u4;1:b", "<u2")]).fingerprint != topic([("a", "<u4"), ("b", "<u2")]).fingerprint


# C


def test_the_header_has_what_the_kernel_needs() -> None:
    tick = Topic(
        "tick", [("id", "<u8"), ("px", "<f8"), ("at", "<M8[ns]"), ("s", "S3")], groups=(1, 7), type=0x100
    )
    header = tick.c_header()
    assert "#include <linux/types.h>" in header
    assert re.search(r"#define NLBUS_TICK_TYPE\s+0x100U\n", header)
    assert re.search(r"#define NLBUS_TICK_GROUPS\s+0x41U", header)
    assert f"{tick.fingerprint:#018x}ULL" in header
    assert re.search(r"double\tpx;.*the kernel must not compute with it", header)
    assert "__s64\tat;" in header
    assert "char\ts[3];" in header
    assert "__attribute__((packed));" in header


def test_a_struct_is_packed_only_where_numpy_differs_from_c() -> None:
    fields = [("a", "u1"), ("b", "<u4")]
    assert "packed" in topic(fields).c_header()
    aligned = topic(np.dtype(fields, align=True)).c_header()
    assert "packed" not in aligned
    assert "__u8\t__pad1[3];" in aligned


def test_members_of_the_other_byte_order_have_the_kernels_types() -> None:
    swapped = np.dtype([("a", "u2"), ("b", "i4"), ("c", "f8")]).newbyteorder("S")
    order = "be" if np.little_endian else "le"
    header = topic(swapped).c_header()
    for member in (f"__{order}16\ta;", f"__{order}32\tb;", f"__{order}64\tc;"):
        assert member in header


@pytest.mark.parametrize("name", ["int", "a b", "1st", "a-b", "é", "typeof", "bool", "linux", "current"])
def test_names_that_c_does_not_accept_are_refused_for_the_header_only(name: str) -> None:
    for fields in ([(name, "u1")], [("in_", [(name, "u1")])]):
        with pytest.raises(SchemaError, match=re.escape(name)):
            topic(fields).c_header()


@pytest.mark.parametrize("name", ["a b", "1st", "a.b", "batch"])
def test_a_topics_name_that_is_no_c_identifier_is_refused_for_the_header(name: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(name)):
        topic([("a", "u1")], name).c_header()


def leaves(dtype: np.dtype[Any], path: str = "", base: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield (C designator, offset, size) of every member, and inside the first and last nested struct."""
    assert dtype.fields is not None
    for name in dtype.names or ():
        member, offset = dtype.fields[name][:2]
        yield f"{path}{name}", base + offset, member.itemsize
        element, shape = member.subdtype or (member, ())
        if element.names is not None:
            count = member.itemsize // element.itemsize
            for index in {0, count - 1}:
                where = "".join(f"[{i}]" for i in np.unravel_index(index, shape)) if shape else ""
                yield from leaves(element, f"{path}{name}{where}.", base + offset + index * element.itemsize)


def compiled(topics: list[Topic], folder: Path) -> None:
    """Compile the topics' headers with assertions of every offset and size, and run the program."""
    lines = ["#include <stddef.h>", "#include <stdio.h>"]
    checks: list[str] = []
    expected: list[str] = []
    for one in topics:
        (folder / f"{one.name}.h").write_text(one.c_header())
        lines += [f'#include "{one.name}.h"'] * 2  # twice: the guard
        struct = f"struct nlbus_{one.name}"
        for path, offset, size in leaves(one.dtype):
            checks.append(
                f'printf("%zu %zu\\n", offsetof({struct}, {path}), sizeof((({struct} *)0)->{path}));'
            )
            expected.append(f"{offset} {size}")
        upper = f"NLBUS_{one.name.upper()}"
        checks.append(f'printf("%zu %u %llu\\n", sizeof({struct}), {upper}_GROUPS, {upper}_FINGERPRINT);')
        expected.append(f"{one.dtype.itemsize} {one.groups.mask} {one.fingerprint}")
    program = folder / "program.c"
    program.write_text("\n".join([*lines, "int main(void) {", *checks, "return 0; }", ""]))
    done = subprocess.run(
        ["gcc", *FLAGS, "-o", folder / "program", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr + "\n".join(one.c_header() for one in topics)
    ran = subprocess.run([folder / "program"], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:-1] == expected, "\n".join(one.c_header() for one in topics)


SCALARS = ["?", "i1", "u1", "f2", "f4", "f8", "S1", "S5", "U1", "U3", "M8[ns]", "m8[25s]"]
SCALARS += [
    order + kind for order in "<>" for kind in ("i2", "u2", "i4", "u4", "i8", "u8", "f8", "U2", "M8[us]")
]
SHAPES = st.sampled_from([(), (), (1,), (3,), (2, 3)])


@st.composite
def dtypes(draw: st.DrawFn, depth: int = 2) -> np.dtype[Any]:
    """A struct: packed, aligned, or with random gaps and its members in any order."""
    formats = []
    for _ in range(draw(st.integers(1, 5))):
        nested = depth > 0 and draw(st.integers(0, 3)) == 0
        base = draw(dtypes(depth - 1)) if nested else np.dtype(draw(st.sampled_from(SCALARS)))
        shape = draw(SHAPES)
        formats.append(np.dtype((base, shape)) if shape else base)
    names = [f"__pad{i}" if draw(st.integers(0, 9)) == 0 else f"m{i}" for i in range(len(formats))]
    layout = draw(st.sampled_from(["packed", "aligned", "gaps"]))
    if layout != "gaps":
        return np.dtype(list(zip(names, formats, strict=True)), align=layout == "aligned")
    offsets = [0] * len(formats)
    end = 0
    for index in draw(st.permutations(range(len(formats)))):
        offsets[index] = end + draw(st.sampled_from([0, 0, 1, 3, 4, 8]))
        end = offsets[index] + formats[index].itemsize
    itemsize = end + draw(st.sampled_from([0, 0, 1, 5]))
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})


@needs_gcc
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(dtypes().filter(lambda dtype: dtype.itemsize <= MAX_RECORD), min_size=1, max_size=6))
def test_gccs_struct_equals_numpys_to_the_byte(
    tmp_path_factory: pytest.TempPathFactory, structs: list[np.dtype[Any]]
) -> None:
    topics = [Topic(f"t{i}", dtype, groups=(1, 32), type=i) for i, dtype in enumerate(structs)]
    compiled(topics, tmp_path_factory.mktemp("header"))


@needs_gcc
def test_a_gap_next_to_a_field_with_a_padding_name_compiles(tmp_path: Path) -> None:
    fields = {"names": ["a", "__pad1"], "formats": ["u1", "<u4"], "offsets": [0, 4]}
    compiled([topic(fields)], tmp_path)
