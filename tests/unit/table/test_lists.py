"""`has` of a column of lists: a value is in the list; interfaces by name, too."""

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlbus import SchemaError, Table, field
from nlbus.kernel.interfaces import Interfaces
from nlbus.schema.types import Column
from nlbus.schema.types import Values as Cells
from nlbus.table.conditions import parse

NAMES = {1: "lo", 2: "eth0", 3: "-1", 4: "7"}
LISTS = st.lists(st.none() | st.lists(st.integers(1, 5), max_size=4), max_size=6)


def table(lists: list[list[int] | None], display: str = "interface", **more: object) -> Table:
    flat = [value for each in lists for value in each or ()]
    ends = np.cumsum([0, *(len(each or ()) for each in lists)])
    column = Column(
        name="oifs",
        dtype=np.dtype("<i4"),
        type="s32",
        list=True,
        display=display,
        **more,  # type: ignore[arg-type]
    )
    valid = np.array([each is not None for each in lists], np.bool_)
    values = Cells(None, valid, ends.astype(np.int32), Cells(np.array(flat, np.int32)))
    found = Table([column]).with_chunks([column], [Whole(values, len(lists))])
    names = Interfaces()
    for index, name in NAMES.items():
        names.learn(index, name)
    found.interfaces = names
    return found


class Whole:
    """A chunk of one column."""

    families = None

    def __init__(self, values: Cells, rows: int) -> None:
        self._values = values
        self._rows = rows
        self.damaged = np.zeros(rows, np.bool_)

    def __len__(self) -> int:
        return self._rows

    def absent(self, i: int) -> bool:
        return False

    def values(self, i: int) -> Cells:
        return self._values


def rows(found: Table, condition: str) -> list[int]:
    return np.flatnonzero(parse(condition).mask(found)).tolist()


@given(LISTS, st.sampled_from(sorted(NAMES)))
def test_an_interface_is_in_a_list_by_index_and_by_name(lists: list[list[int] | None], index: int) -> None:
    wanted = [i for i, each in enumerate(lists) if each is not None and index in each]
    without = [i for i, each in enumerate(lists) if each is not None and index not in each]
    found = table(lists)
    assert rows(found, f"oifs has {index}") == wanted
    assert rows(found, f"oifs has {NAMES[index]}") == wanted
    assert rows(found, f"not oifs has {NAMES[index]}") == without


@given(LISTS, st.integers(1, 5), st.integers(1, 5))
def test_all_values_must_be_in_the_list(lists: list[list[int] | None], one: int, other: int) -> None:
    wanted = [i for i, each in enumerate(lists) if each is not None and {one, other} <= {*each}]
    found = table(lists, display="")
    assert np.flatnonzero(field("oifs").has(one, other).mask(found)).tolist() == wanted
    assert rows(found, f"oifs has {one} and oifs has {other}") == wanted


def test_a_comparison_of_a_list_suggests_has() -> None:
    with pytest.raises(SchemaError, match=r"`oifs has eth0` looks for it there"):
        rows(table([[1]]), "oifs == eth0")
    with pytest.raises(SchemaError, match="cannot be compared with"):
        rows(table([[1]], display=""), "oifs has eth0")
    with pytest.raises(SchemaError, match="no flags and is no list"):
        rows(Table([Column(name="mtu", dtype=np.dtype("<u4"), type="u32")]), "mtu has 3")


def test_flags_and_addresses_in_lists() -> None:
    flagged = table([[1, 2], [3], []], display="", flags={1: "up", 2: "down"})
    assert rows(flagged, "oifs has up") == [0, 1]
    assert rows(flagged, "oifs has up and oifs has down") == [0, 1]
    address = ipaddress.ip_address("::ffff:10.0.0.1").packed
    column = Column(name="via", dtype=np.dtype("V16"), type="address", list=True, display="address")
    values = Cells(None, None, np.array([0, 1, 1], np.int32), Cells(np.frombuffer(address, "V16")))
    found = Table([column]).with_chunks([column], [Whole(values, 2)])
    assert rows(found, "via has 10.0.0.1") == [0]
