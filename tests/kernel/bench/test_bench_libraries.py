"""The benchmark's section `libraries`, with few messages and small storms."""

import os
from pathlib import Path

import pytest

from nlbus import Subscriber
from nlbus.bench import Measurement, Missing
from nlbus.bench.libraries import kernel, measure, reading, storms, tools
from nlbus.bench.libraries.sides import Side, Work, alternate
from nlbus.bench.plans import Scale
from nlbus.kernel.requests import messages
from tests.support.sockets import ip

TINY = Scale("quick", 1, 1.0)
MEMORY = {"nlbus", "pyroute2", "libmnl", "libnl"}
DUMP = MEMORY | {"ip -j"}
# `make test-asan` preloads the sanitizers, which end programs for their own faults.
BROKEN = {"ip -j", "ip monitor", "udevadm monitor", "conntrack -E"} if "LD_PRELOAD" in os.environ else set()
LIVE = {
    "changes of routes": MEMORY | {"ip monitor", "libmnl, 64 MiB", "libnl, 64 MiB"},
    "uevents": {"nlbus", "pyudev", "udevadm monitor"},
    "new connections": {"nlbus", "conntrack -E"},
}


def test_every_library_is_measured_or_named_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(reading.IN_MEMORY, "quick", {"route": 50, "link": 5})
    monkeypatch.setitem(reading.LISTED, "quick", 50)
    monkeypatch.setitem(storms.EVENTS, "quick", {"route": 100, "uevent": 100, "conntrack": 20})
    ip("link set lo up")
    said: list[str] = []
    found = list(measure(TINY, said.append))
    measured = [one for one in found if isinstance(one, Measurement)]
    missing = [one for one in found if isinstance(one, Missing)]
    for one in missing:
        assert one.subject in BROKEN or "install" in one.why or "needs CAP" in one.why, one
    absent = {one.subject for one in missing}
    assert len(absent) == len(missing)  # each is named once
    absent |= {f"{name}, 64 MiB" for name in absent}
    by_work: dict[str, set[str]] = {}
    with Subscriber("route") as sub:
        granted = sub.stats()["buffer_size"]
    for each in measured:
        by_work.setdefault(each.work, set()).add(each.subject)
        # A hundred events overflow no buffer but the system's default, which some have, on a busy machine.
        assert each.subject in BROKEN or each.delivered + each.lost == each.sent, each
        assert each.subject != "nlbus" or each.lost == 0, each
        if "storm" in each.work:
            assert each.details["buffer"] > 0, each
            assert each.note.startswith("receive buffer ")
        # As much as nlbus has, which an ordinary user is not granted.
        assert "64 MiB" not in each.subject or each.details["buffer"] == granted
        assert each.median > 0
    works = {"NEWROUTE": MEMORY, "NEWLINK": MEMORY, "a dump": DUMP, **LIVE}
    for words, subjects in works.items():
        who = {subject for work, here in by_work.items() if words in work for subject in here}
        if who or words not in LIVE:  # else the storm itself is missing, and named
            assert who == subjects - absent, words
        else:
            assert f"a storm of {words.removeprefix('changes of ')}" in absent
    assert any("pyroute2" in words for words in said)


def test_an_overrun_is_loss_and_the_exit_status_is_reported() -> None:
    """libmnl keeps the system's default buffer, which holds some hundreds of such events."""
    found = storms._measured(
        "libmnl",
        "a storm",
        1000,
        [{"events": 600, "overruns": 3, "cpu": 0.006}, {"events": 1000, "overruns": 0, "cpu": 0.01}],
    )
    assert isinstance(found, Measurement)
    assert (found.sent, found.delivered, found.lost) == (2000, 1600, 400)
    assert found.samples == pytest.approx((10_000, 10_000))
    assert "ENOBUFS 3 times" in found.note


def test_a_storm_that_was_not_received_is_reported_and_has_no_time_per_event() -> None:
    results = [{"events": count, "overruns": 1, "cpu": 0.01, "buffer": 212992} for count in (0, 1000)]
    found = storms._measured("x", "a storm", 1000, results)
    assert isinstance(found, Measurement)
    assert len(found.samples) == 1
    assert "1 of 2 storms it did not hear at all" in found.note
    assert found.note.startswith("receive buffer 208 KiB; ")


def test_a_library_that_receives_nothing_is_missing_with_its_last_output() -> None:
    found = storms._measured("x", "a storm", 10, [{"events": 0, "overruns": 0, "cpu": 0.0, "ended": "Boom"}])
    assert found == Missing("libraries", "x", "a storm: it heard nothing: Boom")


def test_a_library_that_reads_other_values_is_not_measured() -> None:
    sides = [
        Side("nlbus", lambda: (3, 6), ""),
        Side("liar", lambda: (3, 7), ""),
        Side("broken", lambda: 1 // 0, ""),  # type: ignore[arg-type,return-value]
    ]
    found = list(alternate(Work("three", 3, 6), sides, TINY))
    assert [type(one).__name__ for one in found] == ["Missing", "Missing", "Measurement"]
    assert [one.subject for one in found] == ["liar", "broken", "nlbus"]


def test_messages_in_memory_come_from_the_kernel() -> None:
    ip("link set lo up")
    routes = [one for one, _ in messages(kernel.route_messages(7))]
    assert [one.type for one in routes] == [24] * 7
    assert len({one.body for one in routes}) == 7
    links = [one for one, _ in messages(kernel.link_messages(30))]
    assert [one.type for one in links] == [16] * 30
    assert b"".join(reading._blocks(kernel.link_messages(300))) == kernel.link_messages(300)
    assert max(map(len, reading._blocks(kernel.link_messages(300)))) <= reading.BLOCK


def test_a_program_that_ends_at_once_is_missing_with_its_output(tmp_path: Path) -> None:
    program = tmp_path / "broken"
    program.write_text("#!/bin/sh\necho no such thing >&2\n")
    program.chmod(0o755)
    found = tools.listen(tools.TOOLS["route"]._replace(command=(str(program),)), lambda: None)
    assert found == Missing("libraries", "ip monitor", "it did not begin: no such thing")
