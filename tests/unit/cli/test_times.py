"""Times of lines: UTC, or with --local those of the local time zone; and -v, which gives a key a line."""

import csv
import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from nlbus.cli.main import commands
from nlbus.cli.render.times import Clock, iso, iso_time
from nlbus.schema.types import Column

CAPTURE = str(Path(__file__).resolve().parents[2] / "data" / "route-nlmon-6.1.pcapng")
ZONES = {"Asia/Kolkata": "+05:30", "America/St_Johns": "-03:30", "UTC": "+00:00"}
NOW = 1_796_000_000_123_456_789


@contextmanager
def zone(name: str) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", name)
        time.tzset()
        try:
            yield ZONES[name]
        finally:
            Clock.local = False
    time.tzset()


def replay(*options: str) -> str:
    done = CliRunner().invoke(commands, ["replay", CAPTURE, "--source", "route", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def first_times(output: str, *more: str) -> list[str]:
    out = replay("-t", "link", "-o", output, *more)
    if output == "text":
        return [line.split()[0] for line in out.splitlines()]
    if output == "json":
        return [json.loads(line)["time"] for line in out.splitlines()]
    return [row["nl_time"] for row in csv.DictReader(io.StringIO(out))]


@pytest.mark.parametrize("output", ["text", "json", "csv"])
def test_local_times_are_the_same_moments_with_their_offset(output: str) -> None:
    with zone("Asia/Kolkata") as offset:  # one: texts are kept, and the zone of a program does not change
        local, utc = first_times(output, "--local"), first_times(output)
    assert len(local) == len(utc) > 3
    assert all(each.endswith("Z") for each in utc)
    for here, there in zip(local, utc, strict=True):
        assert here.endswith(offset)
        assert here[19:29] == there[19:29]  # the fraction of the second
        assert datetime.fromisoformat(here) == datetime.fromisoformat(there)


@pytest.mark.parametrize("name", ZONES)
def test_zones_east_and_west(name: str) -> None:
    with zone(name) as offset:
        Clock.local = True
        here = iso(NOW)
        Clock.local = False
        assert here.endswith(f".123456789{offset}")
        assert datetime.fromisoformat(here) == datetime.fromisoformat(iso(NOW))


@pytest.mark.parametrize("output", ["arrow", "pcapng"])
def test_local_is_refused_where_times_are_numbers(output: str) -> None:
    done = CliRunner().invoke(commands, ["replay", CAPTURE, "-o", output, "--local"])
    assert done.exit_code == 2
    assert "--local is of text, json and csv" in done.output


@given(st.integers(-(1 << 63) + 1, (1 << 63) - 1), st.sampled_from(["s", "ms", "us", "ns"]), st.booleans())
@example((1 << 63) - 1, "s", True)
@example(-1, "ns", True)
def test_any_time_can_be_written(value: int, unit: str, local: bool) -> None:
    column = Column(name="when", dtype=np.dtype("i8"), type="s64", unit=unit, display="time")
    Clock.local = local
    try:
        texts = {iso(value), iso_time(column, value)}
    finally:
        Clock.local = False
    assert all(re.fullmatch(r"-?[\d:.T+-]+(Z|[+-]\d\d:\d\d)?", text) for text in texts)


def test_a_key_a_line() -> None:
    lines = replay("-t", "link", "-v").splitlines()
    heads = [line for line in lines if not line.startswith(" ")]
    assert [line.split()[2] for line in heads] == ["link"] * len(first_times("text"))
    keys = [line for line in lines if line.startswith(" ")]
    assert len(keys) > 10 * len(heads)
    assert all(re.fullmatch(r"    \w+=\S.*", line) for line in keys)


def test_chosen_columns_stay_on_one_line() -> None:
    assert len(replay("-t", "link", "-v", "--columns", "ifname,mtu").splitlines()) == len(first_times("text"))
