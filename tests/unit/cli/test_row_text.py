"""Single values as text: types, units and names of interfaces."""

from typing import Any

import pytest

from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.row_text import duration, value_text
from tests.support.tables import column, text


@pytest.mark.parametrize(
    ("made", "value", "said"),
    [
        (column("a"), 7, "7"),
        (column("a", unit="s"), 7, "7s"),
        (column("a", unit="10ms"), 150, "1.5s"),
        (column("a", unit="ms/8"), 20, "2.5ms"),
        (column("a", unit="bytes"), 7, "7"),
        (column("a", display="hex"), 31, "0x1f"),
        (column("a", "i8", display="time", unit="ns"), 10**9, "1970-01-01T00:00:01.000000000Z"),
        (column("a", enum={1: "up"}), "up", "up"),
        (column("a", enum={1: "up"}), 7, "7"),
        (column("a", flags={1: "up"}), ["up", "0x8"], "up,0x8"),
        (column("a", flags={1: "up"}), [], ""),
        (column("a", "?"), True, "True"),
        (text("a"), "x", "x"),
        (text("a"), "x y\n", r"'x y\n'"),
        (text("a"), "", "''"),
        (text("a", list=True), ["x", None], "x,-"),
        (column("a", list=True), list(range(18)), "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,… 2 more"),
        (column("a", "V1", storage="bytes"), b"\1\2", "0102"),
        (column("a", "V1", storage="bytes"), bytes(30), "00" * 24 + "… 6 more"),
        (column("a", "V1", storage="bytes"), b"", "-"),
        (text("a"), {"x": "1 2"}, "x='1 2'"),
    ],
)
def test_values_are_formatted_by_type_and_unit(made: Any, value: object, said: str) -> None:
    assert value_text(made, value) == said


def test_units_other_than_time_are_not_printed() -> None:
    assert [duration(3, unit) for unit in ("", "bytes", "packets", "bits")] == [""] * 4


def test_interface_indexes_become_names() -> None:
    names = InterfaceNames()
    names.learn({"ifindex": 3, "ifname": "va"})
    names.learn({"ifindex": 3, "ifname": "other", "nl_nsid": 0})
    assert [names.name(3), names.name(3, 0), names.name(4)] == ["va", "other", "if4"]
    assert InterfaceNames(live=True).name(1) == "lo"
