"""The section `transports` with real processes and small numbers; speed is not judged."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from nlbus.bench import Measurement, Missing, namespace
from nlbus.bench.plans import Scale
from nlbus.bench.transports import rounds
from nlbus.bench.transports.crew import Crew
from nlbus.bench.transports.jobs import Job, event, jobs
from nlbus.bench.transports.rounds import AGAIN, KNOWN, OURS, measure
from nlbus.bench.transports.transport import (
    Events,
    Publisher,
    Service,
    Subscriber,
    Transport,
    TransportError,
    load,
)
from nlbus.bench.transports.worker import Tally

SINGLE = Job(2, 64, 1, 0, 0.01)
BATCHES = Job(2, 64, 100, 0, 0.01)
LARGE = Job(2, 1024, 64, 0, 0.01)
PACED = Job(2, 64, 1, 2_000, 0.05)
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def loopback(netns: int) -> None:
    namespace.raise_loopback()


@pytest.mark.parametrize("spec", [spec for spec in KNOWN if spec != AGAIN])
def test_every_transport_delivers_what_was_sent_to_each_subscriber(spec: str) -> None:
    if why := load(spec).missing():
        pytest.skip(why)
    with Crew(spec) as crew:
        crew.hire(2)
        crew.meet()
        for job in (SINGLE, BATCHES, LARGE, PACED, BATCHES):
            shot = crew.run(job)
            assert len(shot.delivered) == 2
            assert sum(shot.delivered) + shot.lost == 2 * shot.sent > 0
            assert sum(shot.delivered) > 0
            assert shot.rate > 0
            assert shot.publisher_ns > 0
            assert shot.subscriber_ns > 0
            assert len(shot.delays_us) > 0 if job.offered else not shot.delays_us
        assert shot.server_ns >= 0
        shared = {path for pid in kin() for path in mapped(pid)}
    assert not any(path.exists() for path in shared)


def mapped(pid: int) -> list[Path]:
    """The shared-memory files that a process has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [Path(line.split(maxsplit=5)[5]) for line in lines if "/dev/shm/" in line]


def test_a_round_of_all_participants_yields_measurements_with_ratios(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    absent, broken = f"{__name__}:Absent", f"{__name__}:Deaf"
    bad = ("no.such:Thing", f"{__name__}:Raising", f"{__name__}:Unserved")
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(rounds, "KNOWN", (OURS, AGAIN, "nlbus.bench.transports.unix:Unix"))
    monkeypatch.setattr(rounds, "jobs", lambda plan: [BATCHES, PACED])
    progress: list[str] = []
    found = list(measure(Scale("quick", 3, 20, (*bad, absent, broken)), progress.append))
    missing = {each.subject: each.why for each in found if isinstance(each, Missing)}
    assert missing["absent"] == "pip install absent"
    assert "heard nothing" in missing["deaf, from 2 subscribers on"]
    assert "no.such:Thing" in missing["no.such:Thing"]
    assert missing["raising"] == "ZeroDivisionError: by accident"
    assert missing["unserved"] == "KeyError: 'by accident'"
    measured = [each for each in found if isinstance(each, Measurement)]
    assert [(each.subject, each.work) for each in measured] == [
        (name, job.work) for job in (BATCHES, PACED) for name in ("nlbus", "unix datagram")
    ]
    for each in measured:
        assert len(each.samples) == 3
        assert each.delivered + each.lost == each.sent > 0
        assert len(each.control) == 3
        assert each.parameters["subscribers"] == 2
        assert each.details["publisher_cpu_ns"] > 0
        assert (each.reference, len(each.ratios)) == (("", 0) if each.subject == "nlbus" else ("nlbus", 3))
    assert measured[-1].details["delay_us"]["p99"] >= measured[-1].details["delay_us"]["p50"] > 0
    assert any("round 3 of 3" in line for line in progress)


def test_an_interrupted_measurement_leaves_no_process_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "KNOWN", (OURS, AGAIN, "nlbus.bench.transports.nats_core:Nats"))
    monkeypatch.setattr(rounds, "jobs", lambda plan: [BATCHES, SINGLE])
    going = measure(Scale("quick", 3, 20), lambda text: None)
    next(going)
    children = kin()
    assert len(children) >= 6
    going.close()
    deadline = time.monotonic() + 5
    while kin() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert kin() == []


def kin() -> list[int]:
    """The child processes of this one."""
    return [
        int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()
    ]


def test_quick_writes_json_and_shows_tables(tmp_path: Path) -> None:
    path = tmp_path / "quick.json"
    script = (
        "from nlbus.bench.transports import rounds;"
        "from nlbus.bench.transports.jobs import Job;"
        f"rounds.KNOWN = ({OURS!r}, {AGAIN!r}, 'nlbus.bench.transports.netlink:Netlink');"
        "rounds.jobs = lambda plan: [Job(1, 64, 1, 0, 0.01)];"
        "from nlbus.cli import run; run()"
    )
    command = [sys.executable, "-c", script, "bench", "quick", "--only", "transports", "--rounds", "2"]
    done = subprocess.run([*command, "--json", path], capture_output=True, text=True, check=True)
    assert "plain netlink" in done.stdout
    assert done.stderr == ""  # no progress without a terminal
    written = json.loads(path.read_text())
    assert [each["subject"] for each in written["measurements"]] == ["nlbus", "plain netlink"]
    assert any(each.startswith("Transports:") for each in written["caveats"])


def test_ctrl_c_saves_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    command = [sys.executable, "-m", "nlbus", "bench", "quick", "--only", "transports", "--json", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as going:
        # Earlier children query compilers and libraries for their versions.
        while not path.exists() or not Path(f"/proc/{going.pid}/task/{going.pid}/children").read_text():
            assert going.poll() is None
            time.sleep(0.05)
        going.send_signal(signal.SIGINT)
        shown, said = going.communicate(timeout=30)
    assert (going.returncode, said) == (130, "")
    written = json.loads(path.read_text())
    assert "Broken off: some of it was not measured." in written["caveats"]
    assert "Broken off" in shown


@pytest.mark.parametrize("name", ["latency", "profile"])
@pytest.mark.timeout(120)
def test_ctrl_c_on_a_terminal_prints_no_tracebacks_of_children(name: str, tmp_path: Path) -> None:
    """It goes to the whole process group: the processes that we started print nothing about it."""
    path = tmp_path / "broken.json"
    command = [sys.executable, "-m", "nlbus", "bench", "full", "--only", name, "--json", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as going:
        while not path.exists():
            assert going.poll() is None
            time.sleep(0.05)
        time.sleep(2)
        os.killpg(going.pid, signal.SIGINT)
        _, said = going.communicate(timeout=60)
    assert (going.returncode, said) == (130, "")
    assert "Broken off: some of it was not measured." in json.loads(path.read_text())["caveats"]


# -- what is counted ------------------------------------------------------------------------------


def numbered(*numbers: int, size: int = 64) -> Events:
    records = np.zeros(len(numbers), event(size))
    records["seq"] = numbers
    records["value"] = 0.5
    return records


@pytest.mark.parametrize(
    ("arrays", "events", "lost", "disorder"),
    [
        ([(10, 11), (12,)], 3, 0, 0),
        ([(10,)], 1, 2, 0),
        ([(12,)], 1, 2, 0),
        ([], 0, 3, 0),
        ([(10, 12)], 2, 1, 0),
        ([(8, 9)], 0, 3, 0),  # late, from another job
        ([(9, 10), (11, 12)], 3, 0, 0),
        ([(10, 11), (11, 12)], 4, 0, 1),
        ([(11, 10, 12)], 3, 2, 1),
    ],
)
def test_losses_and_disorder_are_detected_by_numbers(
    arrays: list[tuple[int, ...]], events: int, lost: int, disorder: int
) -> None:
    tally = Tally(10, event(64), False)
    for numbers in arrays:
        tally.take(numbered(*numbers))
    result = tally.result(13)
    assert (result["events"], result["lost"], result["disorder"]) == (events, lost, disorder)
    assert result["whole"]


def test_a_damaged_event_is_detected() -> None:
    tally = Tally(1, event(64), False)
    records = numbered(1, 2)
    records["value"][1] = 7
    tally.take(records)
    assert not tally.result(3)["whole"]


@pytest.mark.parametrize("size", ["quick", "full"])
def test_plans_have_separate_work_for_each_job(size: str) -> None:
    found = jobs(Scale("quick" if size == "quick" else "full", 1, 1))
    assert len({job.work for job in found}) == len(found)
    assert [job.subscribers for job in found] == sorted(job.subscribers for job in found)
    assert any(job.offered for job in found)


@pytest.mark.parametrize(
    "spec", ["nothing", "nlbus:Nothing", "nlbus:Subscriber", "json:JSONEncoder", "no.such:Thing"]
)
def test_an_argument_that_is_no_transport_is_refused(spec: str) -> None:
    with pytest.raises(TransportError, match=spec):
        load(spec)


# -- plug-ins -------------------------------------------------------------------------------------


class Silent(Publisher, Subscriber):
    """Sends nothing and receives nothing."""

    def publish_one(self, data: bytes) -> None:
        pass

    def publish_batch(self, events: Events) -> None:
        pass

    def receive(self, dtype: np.dtype[np.void], timeout: float) -> Events:
        time.sleep(timeout)
        return np.empty(0, dtype)


class Deaf(Transport):
    name = "deaf"

    def publisher(self, where: str) -> Publisher:
        return Silent()

    def subscriber(self, where: str, number: int) -> Subscriber:
        return Silent()


class Absent(Deaf):
    name = "absent"

    def missing(self) -> str | None:
        return "pip install absent"


class Raising(Deaf):
    name = "raising"

    def missing(self) -> str | None:
        raise ZeroDivisionError("by accident")


class Unserved(Deaf):
    name = "unserved"

    @contextmanager
    def serving(self, place: Path) -> Iterator[Service]:
        raise KeyError("by accident")
        yield
