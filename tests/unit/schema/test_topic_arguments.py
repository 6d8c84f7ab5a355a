"""Arguments of Topic, Groups and netns=: accepted, or refused at once with a SchemaError."""

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import Groups, KernelError, SchemaError, Topic
from nlbus.kernel.netns import inside

HUGE = 10**5000
SCALARS: list[Any] = [
    None, True, -1, 0, 1, 33, 2**31, 2**32, 2**64, 1.5, math.nan, math.inf, "", "a", "a\0",
    "\ud800",
    "<u4", "u4,u4", "S0", "S99999999999", "V4", "O", "M8", "M8[7us]", "(2,2)u1", b"a", np.uint8(3), object(),
]  # fmt: skip
huge = st.integers(100, 20_000).map(lambda bits: 1 << bits)
scalars = st.one_of(st.sampled_from(SCALARS), st.text(max_size=3), st.integers(), huge)
nested = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(st.tuples(st.text(max_size=2), inner), max_size=4),
        st.tuples(inner, inner),
        st.tuples(st.text(max_size=2), inner, inner),
        st.dictionaries(st.sampled_from(["names", "formats", "offsets", "itemsize", "a"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@pytest.mark.filterwarnings("ignore:Data type alias:DeprecationWarning")  # numpy's, of the type "a"
@given(nested, nested, nested, nested)
def test_a_topic_accepts_or_refuses_any_argument(name: Any, fields: Any, groups: Any, kind: Any) -> None:
    for arguments in (
        (name, [("a", "<u4")], 1, 0),
        ("t", fields, 1, 0),
        ("t", [("a", fields)], 1, 0),
        ("t", [("a", "<u4")], groups, 0),
        ("t", [("a", "<u4")], 1, kind),
    ):
        try:
            made = Topic(arguments[0], arguments[1], groups=arguments[2], type=arguments[3])
        except SchemaError:
            continue
        for text in (made.name, *(made.dtype.names or ())):
            assert text
            text.encode()


@given(nested)
def test_groups_accept_or_refuse_any_argument(value: Any) -> None:
    for make in (Groups, Groups.of, Groups.from_mask):
        try:
            found = make(value)
        except SchemaError:
            continue
        assert all(0 < group < 1 << 32 for group in found)


@given(nested)
def test_netns_is_entered_or_refused(value: Any) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1000:
        return  # may be a descriptor or a process
    if value is None:
        return
    with pytest.raises((SchemaError, KernelError)):
        inside(value, lambda: None)


@pytest.mark.parametrize("name", ["", "\ud800", "a\0b", "\udfffx"])
def test_names_are_printable_text(name: str) -> None:
    with pytest.raises(SchemaError, match="a topic has a name in UTF-8"):
        Topic(name, [("a", "<u4")], groups=1)
    for fields in (
        [(name, "<u4")],
        [("x", [(name, "<u4")])],
        {"names": [name], "formats": ["<u4"]},
    ):
        with pytest.raises(SchemaError, match=r"without a name|is no name of a field"):
            Topic("t", fields, groups=1)


def test_fields_that_are_nested_too_deep_are_refused() -> None:
    for depth in (200, 300, 1000, 5000):
        fields: Any = "u1"
        for _ in range(depth):
            fields = [("a", fields)]
        try:
            Topic("t", fields, groups=1)
        except SchemaError:
            continue
        assert depth == 200


@pytest.mark.parametrize("groups", [itertools.count(1), range(1, 1 << 40), itertools.repeat(1)])
def test_infinite_groups_are_refused_at_once(groups: Any) -> None:
    with pytest.raises(SchemaError, match="more than 131072 groups"):
        Groups.of(groups)


def test_an_error_about_a_huge_value_is_short() -> None:
    for refused in (
        lambda: Groups(HUGE),
        lambda: Groups.from_mask(HUGE),
        lambda: Groups.of("1" * 10**6),
        lambda: Topic("t", [("a", "<u4")], groups=1, type=HUGE),
        lambda: inside(HUGE, lambda: None),
    ):
        with pytest.raises(SchemaError) as caught:
            refused()
        assert len(str(caught.value)) < 400


def test_a_fifo_is_no_network_namespace(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(KernelError, match="this is no network namespace"):
        inside(tmp_path / "fifo", lambda: None)


class Strange:
    def __init__(self, descriptor: object) -> None:
        self.descriptor = descriptor

    def fileno(self) -> object:
        return self.descriptor

    def __repr__(self) -> str:
        return "Strange"


@pytest.mark.parametrize("descriptor", ["x", None, 1 << 70, 1.5])
def test_a_file_without_a_descriptor_is_refused(descriptor: object) -> None:
    with pytest.raises(SchemaError, match="entering network namespace Strange"):
        inside(Strange(descriptor), lambda: None)  # type: ignore[arg-type]
