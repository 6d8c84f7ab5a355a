"""nlbus.ko's replies, built from bytes; and errors without the module."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from nlbus import Groups, KernelError, Publisher, SchemaError, Subscriber, module_stats, set_module
from nlbus.cli.main import commands
from nlbus.cli.render.module_stats import as_object, table
from nlbus.kernel.requests import attribute
from nlbus.module import U32, _numbers, parsed
from nlbus.sources import bus


@pytest.fixture(autouse=True)
def not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bus, "MODULE_PROTOCOL", tmp_path / "protocol")


def u64(number: int, value: int) -> bytes:
    return attribute(number, value.to_bytes(8, "little"))


def u32(number: int, value: int) -> bytes:
    return attribute(number, U32.pack(value))


ANSWER = u32(1, 32_448) + u32(2, 0) + u32(3, 1 << 18) + u32(4, 1) + u32(5, 0b101) + u32(77, 5)
TOTAL = u32(2, 0) + u64(8, 3) + attribute(1, b"") + u64(9, 1) + u64(10, 2) + u64(11, 0) + u32(12, 4)
THIRD = u32(2, 3) + u64(3, 10) + u64(4, 1000) + u64(5, 2) + u64(6, 7) + u64(7, 1) + u64(8, 3)
SILENT = u32(2, 4) + b"".join(u64(number, 0) for number in range(3, 9))
STATS = parsed(31, _numbers(ANSWER), [_numbers(body) for body in (TOTAL, THIRD, SILENT)])


def test_replies_are_read_by_number_and_padding_and_unknown_attributes_are_ignored() -> None:
    assert (STATS.protocol, STATS.chain_bytes, STATS.buffer_bytes, STATS.open_receive) == (
        31,
        32448,
        1 << 18,
        True,
    )
    assert STATS.listeners == Groups(1, 3)
    assert (STATS.overflow, STATS.nomem, STATS.refused, STATS.evicted, STATS.streams) == (3, 1, 2, 0, 4)
    assert [tuple(group) for group in STATS.groups] == [(3, 10, 1000, 2, 7, 1, 3)]


def test_stats_are_one_line_per_group_as_text_and_an_object_as_json() -> None:
    first, second, titles, third = table(STATS)
    assert "protocol 31" in first
    assert "listeners 1,3" in first
    assert second == "overflow 3, nomem 1, refused 2, evicted 0, streams 4"
    assert titles.split() == ["GROUP", "EVENTS", "BYTES", "DATAGRAMS", "SKIPPED", "FAILED", "OVERFLOW"]
    assert third.split() == ["3", "10", "1000", "2", "7", "1", "3"]
    stats = json.loads(as_object(STATS))
    assert stats["listeners"] == [1, 3]
    assert stats["groups"][0]["events"] == 10


@pytest.mark.parametrize("wrong", [{"chain_bytes": 511}, {"chain_bytes": 32_449}, {"linger_us": -1}])
def test_parameters_out_of_range_are_refused_before_any_request(wrong: dict[str, int]) -> None:
    with pytest.raises(SchemaError, match="from"):
        set_module(**wrong)  # type: ignore[arg-type]


def test_without_the_module_every_error_has_help() -> None:
    for call in (
        module_stats,
        lambda: set_module(linger_us=5),
        lambda: Publisher(transport="module"),
        lambda: Subscriber(groups=1, transport="module"),
    ):
        with pytest.raises(KernelError, match="modprobe nlbus"):
            call()
    done = CliRunner().invoke(commands, ["stats", "--module"], prog_name="nlbus")
    assert done.exit_code == 1
    assert "modprobe nlbus" in done.stderr


@pytest.mark.parametrize("args", [["route"], ["--drops"], ["--pid", "1"], ["--here"], ["--no-kernel"]])
def test_stats_of_the_module_exclude_socket_options(args: list[str]) -> None:
    assert CliRunner().invoke(commands, ["stats", "--module", *args]).exit_code == 2


def test_reliable_requires_the_module_and_the_error_says_why() -> None:
    for transport in ("auto", "usersock"):
        with pytest.raises(SchemaError, match="reports no full subscriber"):
            Publisher(reliable=True, transport=transport)  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="reports no full subscriber"):
        Subscriber(groups=1, reliable=True, transport="usersock")


def test_a_transport_applies_to_the_bus_and_is_one_of_three() -> None:
    with pytest.raises(SchemaError, match="'auto', 'usersock' or 'module'"):
        Subscriber(groups=1, transport="unix")  # type: ignore[arg-type]
    with pytest.raises(SchemaError, match="'auto', 'usersock' or 'module'"):
        Publisher(transport="")  # type: ignore[arg-type]
    for wrong in ({"transport": "module"}, {"transport": "usersock"}, {"reliable": True}):
        with pytest.raises(SchemaError, match="not of uevent"):
            Subscriber("uevent", **wrong)  # type: ignore[arg-type]
