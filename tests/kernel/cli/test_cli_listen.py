"""`nlbus listen` on real sockets, as a child process."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from nlbus import Publisher
from nlbus.cli.demo.rtnetlink import Rtnetlink
from nlbus.cli.main import commands
from nlbus.kernel.netns import inside
from tests.support.cli import Listen
from tests.support.sockets import Child, Sender, ip, plain

Start = Callable[..., Listen]


def test_events_are_printed_as_json_while_it_runs(listen: Start, publisher: Publisher) -> None:
    here = listen("bus", "--group", "1,7", "-o", "json")
    before = time.time_ns()
    publisher.publish(b"hello", groups=(1, 7), type=0x100)
    found = here.record()
    assert before <= found.pop("time_ns") <= time.time_ns()
    assert found.pop("time").endswith("Z")
    assert found == {
        "source": "bus",
        "groups": [1, 7],
        "group_names": ["1", "7"],
        "type": 0x100,
        "seq": 0,
        "portid": publisher.portid,
        "uid": os.getuid(),
        "length": 5,
        "text": "hello",
    }
    publisher.publish(b"\x00\xff", groups=7)
    assert here.record()["hex"] == "00ff"


def test_the_groups_option_may_be_repeated(listen: Start, publisher: Publisher) -> None:
    here = listen("bus", "--group", "1", "-g", "2,3", "--groups", "4", "--count", "4", "-o", "json")
    assert here.greeting == "nlbus: listening to bus, groups 1, 2, 3, 4\n"
    for group in range(1, 6):
        publisher.publish(b"x", groups=group)
    assert [json.loads(line)["groups"] for line in here.end()[1]] == [[1], [2], [3], [4]]


def test_count_may_end_in_the_middle_of_a_batch(listen: Start) -> None:
    here = listen("bus", "-g", "1", "--count", "3")
    with Publisher(linger=0.05) as publisher:
        for i in range(10):
            publisher.publish(b"event %d" % i, groups=1)
    code, lines, err = here.end()
    assert [line.split()[-1] for line in lines] == ["0", "1", "2"]
    assert (code, err) == (0, "nlbus: 3 events, 0 lost, 0 dropped, 0 open\n")


def test_seconds_end_the_command_without_an_event(listen: Start) -> None:
    began = time.monotonic()
    code, lines, err = listen("bus", "-g", "1", "--seconds", "0.3").end()
    assert (code, lines) == (0, [])
    assert err == "nlbus: 0 events, 0 lost, 0 dropped, 0 open\n"
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_quietly(listen: Start, publisher: Publisher, number: int) -> None:
    here = listen("bus", "-g", "1")
    publisher.publish(b"x", groups=1)
    here.line()
    assert here.end(number) == (0, [], "nlbus: 1 events, 0 lost, 0 dropped, 0 open\n")


def test_a_closed_pipe_ends_the_command_quietly_and_at_once(listen: Start) -> None:
    here = listen("bus", "-g", "1")
    assert here.process.stdout is not None
    here.process.stdout.close()
    assert here.process.wait(timeout=10) == 0
    assert here.process.stderr is not None
    assert here.process.stderr.read() == "nlbus: 0 events, 0 lost, 0 dropped, 0 open\n"


def test_a_pipe_closed_during_a_write_ends_the_command_quietly(listen: Start, publisher: Publisher) -> None:
    here = listen("bus", "-g", "1")
    here.stop()
    for _ in range(3000):
        publisher.publish(b"x" * 100, groups=1)
    assert here.process.stdout is not None
    here.go_on()
    here.line()
    here.process.stdout.close()
    assert here.process.wait(timeout=10) == 0
    assert here.process.stderr is not None
    assert "Traceback" not in here.process.stderr.read()


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_signal_cuts_no_line(
    listen: Start, publisher: Publisher, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    here = listen("bus", "-g", "1")
    for _ in range(3000):
        publisher.publish(b"x" * 100, groups=1)
    time.sleep(0.5)  # the pipe is full, and holds 64 KiB
    code, lines, err = here.end(signal.SIGINT)
    assert code == 0
    assert {line.split()[-1] for line in lines} == {"x" * 100}
    assert err.startswith(f"nlbus: {len(lines)} events, 0 lost")


def test_a_second_signal_ends_the_command_though_nobody_reads(listen: Start, publisher: Publisher) -> None:
    here = listen("bus", "-g", "1")
    for _ in range(3000):
        publisher.publish(b"x" * 100, groups=1)
    time.sleep(0.5)  # the pipe is full, and holds 64 KiB
    here.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert here.process.poll() is None
    here.process.send_signal(signal.SIGINT)
    assert here.process.wait(timeout=10) == -signal.SIGINT


def overflow(here: Listen, publisher: Publisher, events: int = 200) -> None:
    here.stop()
    for i in range(events):
        publisher.publish(b"%d" % i, groups=1)
    here.go_on()


def seen(here: Listen) -> list[dict[str, Any]]:
    """All records up to the last event that `overflow` managed to queue."""
    records = [here.record()]
    while records[-1].get("text") != "last":
        records.append(here.record())
    return records


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--fail-on-loss"], 3)])
def test_a_gap_is_reported_between_the_events(
    listen: Start, publisher: Publisher, flags: list[str], code: int
) -> None:
    here = listen("bus", "-g", "1", "-o", "json", "--buffer-events", "10", *flags)
    overflow(here, publisher)
    first = [here.record() for _ in range(10)]
    assert [record["text"] for record in first] == [str(i) for i in range(10)]
    publisher.publish(b"last", groups=1)
    records = first + seen(here)
    gaps = [record for record in records if record["type"] == "gap" and record["cause"] == "gap"]
    events = [record for record in records if record["type"] != "gap"]
    assert sum(gap["count"] for gap in gaps) + len(events) == 201
    assert all(gap["exact"] and gap["unit"] == "events" for gap in gaps)
    assert all(gap["earliest_ns"] <= gap["latest_ns"] for gap in gaps)
    after = records[records.index(gaps[-1]) + 1]
    assert after["seq"] == events[events.index(after) - 1]["seq"] + 1 + gaps[-1]["count"]
    done, _, err = here.end(signal.SIGINT)
    assert done == code
    assert f"{len(events)} events, {201 - len(events)} lost, " in err
    assert err.endswith(" 0 open\n")


def test_in_text_output_a_gap_is_a_line(listen: Start, publisher: Publisher) -> None:
    here = listen("bus", "-g", "1", "--buffer-events", "10")
    overflow(here, publisher)
    lines = [here.line() for _ in range(10)]
    publisher.publish(b"last", groups=1)
    while not lines[-1].endswith(" last"):
        lines.append(here.line())
    assert any(line.startswith("--- gap: ") and " events lost between " in line for line in lines)


def test_drops_that_no_gap_explains_are_open(listen: Start) -> None:
    here = listen("bus", "-g", "1", "-o", "json", "--buffer-events", "10", "--fail-on-loss")
    with Publisher() as publisher:
        here.stop()
        for i in range(200):
            publisher.publish(b"%d" % i, groups=1)
    # Its heartbeat was lost too, so the number is never known.
    here.go_on()
    records = [here.record()]
    while records[-1]["type"] != "gap":
        records.append(here.record())
    assert records[-1]["cause"] == "open"
    assert records[-1]["count"] >= 200 - len(records)
    code, rest, err = here.end(signal.SIGINT)
    assert (code, rest) == (3, [])
    assert err.endswith(f" {records[-1]['count']} open\n")


def test_a_kernel_source_reports_overruns(listen: Start) -> None:
    here = listen("raw:usersock", "-g", "5", "-o", "json", "--buffer-events", "10", "--fail-on-loss")
    here.stop()
    with Sender() as sender:
        for i in range(200):
            sender.send(plain(b"%d" % i), group=5)
    here.go_on()
    records = [here.record()]
    while sum(record.get("count", 1) for record in records) < 200:
        records.append(here.record())
    gaps = [record for record in records if record["type"] == "gap"]
    for gap in gaps:
        assert (gap["cause"], gap["unit"], gap["exact"], gap["stream"]) == (
            "overrun",
            "datagrams",
            False,
            None,
        )
    dropped = sum(gap["count"] for gap in gaps)
    assert 0 < dropped < 200
    code, rest, err = here.end(signal.SIGTERM)
    assert (code, rest) == (3, [])
    assert err.endswith(f"nlbus: {len(records) - len(gaps)} events, 0 lost, {dropped} dropped, 0 open\n")


def test_untrusted_events_are_counted(listen: Start, publisher: Publisher) -> None:
    here = listen("bus", "-g", "1", "--trust", "4711", "--seconds", "1")
    publisher.publish(b"x", groups=1)
    # The event, and possibly its heartbeat.
    *warnings, summary = here.end()[2].splitlines()
    assert re.fullmatch(r"nlbus: 0 events, 0 lost, 0 dropped, 0 open, [12] untrusted", summary)
    assert all("trust=" in warning for warning in warnings)


@pytest.mark.parametrize("trust", [["--trust", "any"], ["--trust", "4711", "--trust", str(os.getuid())]])
def test_trust_is_widened_by_uid_or_any(listen: Start, publisher: Publisher, trust: list[str]) -> None:
    here = listen("bus", "-g", "1", *trust)
    publisher.publish(b"x", groups=1)
    assert here.line().endswith(" x")


def test_route_and_uevent_are_found_by_name(listen: Start) -> None:
    route = listen("route", "--group", "link", "-o", "json")
    uevent = listen("uevent")
    with Rtnetlink() as kernel:
        try:
            kernel.add_veth("cli0", "cli1")
        except OSError as error:
            pytest.skip(f"no veth in this kernel: {error.strerror}")
    found = route.record()
    assert (found["group_names"], found["nl_table"], found["nl_op"]) == (["link"], "link", "new")
    assert found["ifname"] in ("cli0", "cli1")
    assert " uevent kernel add@/devices/virtual/net/cli" in uevent.line()


def test_raw_messages_are_printed_in_hex(listen: Start) -> None:
    raw = listen("route", "--group", "link", "-o", "json", "--raw")
    text = listen("route", "--group", "link", "--raw")
    ip("link set lo up")
    found = raw.record()
    assert (found["group_names"], found["type_name"], found["portid"]) == (["link"], "RTM_NEWLINK", 0)
    assert b"\0lo\0" in bytes.fromhex(found["hex"])
    assert " route link RTM_NEWLINK " in text.line()


def test_a_smaller_buffer_than_requested_causes_a_warning(listen: Start) -> None:
    here = listen("bus", "-g", "1", "--buffer-events", "100000000")
    granted = "the kernel grants a receive buffer of" in here.greeting
    with Publisher() as publisher:
        publisher.publish(b"x", groups=1)
    here.line()
    assert "Traceback" not in here.greeting
    # Root gets the requested size.
    assert granted or here.greeting == "nlbus: listening to bus, groups 1\n"


def test_a_missing_privilege_is_a_one_line_error() -> None:
    def work() -> tuple[int, str]:
        result = CliRunner().invoke(commands, ["listen", "bus", "-g", "1"])
        return result.exit_code, result.stderr

    code, err = Child(work, drop_caps=True).result()
    assert code == 1
    assert err.startswith("nlbus: joining bus (1): Operation not permitted; joining needs CAP_NET_ADMIN")
    assert err.count("\n") == 1


def test_netns_listens_in_another_namespace(listen: Start, others: Callable[[], str]) -> None:
    path = others()
    here = listen("route", "-g", "link", "--netns", path, "-o", "json", "-c", "1")
    assert here.greeting == f"nlbus: listening to route, groups link, in network namespace {path}\n"
    inside(path, lambda: ip("link set lo up"))
    assert here.record()["group_names"] == ["link"]
    by_pid = listen("route", "-g", "link", "--netns", path.split("/")[2], "-c", "1")
    inside(path, lambda: ip("link set lo down"))
    assert by_pid.line()


def test_all_nsid_listens_in_all_namespaces_with_an_id(listen: Start, others: Callable[[], str]) -> None:
    path = others()
    refused = CliRunner().invoke(commands, ["listen", "route", "--all-nsid", "--seconds", "0"])
    if refused.exit_code:
        pytest.skip(str(refused.exception))
    text, records = (listen("route", "-g", "link", "--all-nsid", *more) for more in ((), ("-o", "json")))
    ip(f"link add v0 type veth peer name v1 netns {path.split('/')[2]}")  # which assigns it an id
    assert "nl_nsid" not in records.record()
    assert "nsid" not in text.line()
    inside(path, lambda: ip("link set v1 up"))
    while records.record().get("nl_nsid") != 0:
        pass
    while "[nsid 0]" not in text.line():
        pass


def test_repair_shows_what_the_kernel_does_not_announce(listen: Start) -> None:
    ip("link set lo up", "link add va type veth peer name vb", "link set va up", "link set vb up")
    ip("addr add 10.0.0.1/24 dev va", "route add 10.9.0.0/16 via 10.0.0.2")
    here = listen("route", "-t", "route", "--where", "dst == 10.9.0.0", "--repair", "-o", "json")
    assert here.greeting == "nlbus: listening to route, groups ipv4_route, ipv6_route\n"
    ip("link set va down")
    found = here.record()
    assert (found["nl_op"], found["dst"]) == ("del", "10.9.0.0")


def test_repair_is_not_for_captures_and_tables_without_keys() -> None:
    for options, words in ((["-o", "pcapng"], "--repair"), (["-t", "prefix"], "no key")):
        found = CliRunner().invoke(commands, ["listen", "route", "--repair", *options])
        assert found.exit_code == 2
        assert words in found.output
