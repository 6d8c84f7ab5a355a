"""proc: name, exe, arguments, uid and cgroup of processes, read as soon as the kernel reports them."""

import concurrent.futures
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nlbus import Batch, Listener, Subscriber, field, schema, snapshot
from nlbus.kernel.procfs import process_facts
from nlbus.sources.proc import FACTS

Subscribe = Callable[..., Subscriber]
NAMES = [column.name for column in FACTS]


@pytest.fixture
def sleeper(process_connector: None) -> Callable[[], subprocess.Popen[bytes]]:
    return lambda: subprocess.Popen(["/bin/sleep", "5"])


def rows_of(sub: Subscriber, table: str, pid: int) -> list[dict[str, object]]:
    column = "child_tgid" if table == "fork" else "process_tgid"
    found: list[dict[str, object]] = []
    deadline = time.monotonic() + 3
    while not found and time.monotonic() < deadline:
        for batch in sub.batches(timeout=0.1):
            found += [row for row in batch.table(table).iter_rows() if row[column] == pid]
    return found


@pytest.mark.parametrize(
    "how", [{"options": {"facts": 1}}, {"tables": {"exec": ["process_tgid", "process_pid", *NAMES]}}]
)
def test_a_new_program_comes_with_its_facts(
    subscribe: Subscribe, sleeper: Callable[[], subprocess.Popen[bytes]], how: dict[str, object]
) -> None:
    sub = subscribe("proc", **how)
    with sleeper() as child:
        try:
            row = rows_of(sub, "exec", child.pid)[-1]
        finally:
            child.kill()
    assert row["name"] == "sleep"
    assert str(row["exe"]).endswith(("/sleep", "/coreutils", "/busybox"))
    assert row["cmdline"] == ["/bin/sleep", "5"]
    assert row["process_uid"] == os.getuid()
    assert row["cgroup"] == Path("/proc/self/cgroup").read_text().split("0::")[-1].split("\n")[0]


def test_facts_are_null_unless_asked_for(
    subscribe: Subscribe, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    sub = subscribe("proc")
    with sleeper() as child:
        try:
            [row, *_] = rows_of(sub, "exec", child.pid)
        finally:
            child.kill()
    assert [row[name] for name in NAMES] == [None] * 5
    assert [column.name for column in schema("proc", "exec").columns][-5:] == NAMES
    assert [column.name for column in schema("proc", "fork").columns][-5:] == NAMES


def test_a_condition_asks_for_facts(
    subscribe: Subscribe, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    sub = subscribe("proc", tables=["exec"], where=(field("name") == "sleep") & (field("uid") == os.getuid()))
    subprocess.run([sys.executable, "-c", ""], check=True)
    with sleeper() as child:
        try:
            [row] = rows_of(sub, "exec", child.pid)
        finally:
            child.kill()
    assert row["name"] == "sleep"
    assert set(sub.collect("exec", seconds=0.1)["name"].tolist()) <= {"sleep"}


def test_a_snapshot_has_facts_when_they_are_named(process_connector: None) -> None:
    table = snapshot("proc", "exec", columns=["process_tgid", "name", "exe", "process_uid"])
    [mine] = table.filter(field("process_tgid") == os.getpid()).iter_rows()
    assert mine["exe"] == str(Path("/proc/self/exe").readlink())
    assert mine["process_uid"] == os.getuid()


def test_a_process_that_is_gone_has_no_facts() -> None:
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    assert process_facts(child.pid) == (None,) * 5
    assert process_facts(os.getpid())[0] is not None


def test_facts_stay_with_the_messages_of_a_batch(
    subscribe: Subscribe, sleeper: Callable[[], subprocess.Popen[bytes]]
) -> None:
    sub = subscribe("proc", options={"facts": 1})
    kept: list[Batch] = []
    with sleeper() as child:
        time.sleep(0.1)
        kept += sub.batches(timeout=0.1)
        child.kill()
    again = [one.copy().select(one.messages["type"] >= 0) for one in kept]
    rows = [row for one in again for row in one.table("exec").iter_rows() if row["process_tgid"] == child.pid]
    assert rows[-1]["cmdline"] == ["/bin/sleep", "5"]


def test_a_rule_that_names_facts_reads_them(process_connector: None) -> None:
    app = Listener()
    found: list[object] = []

    @app.on("proc", table="exec", where="name == sleep")
    def started(event: dict[str, object]) -> None:
        found.append(event["cmdline"])
        app.stop()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(app.run, seconds=5)
        while not running.done():
            subprocess.run(["/bin/sleep", "0.1"], check=True)
        running.result()
    assert found[0] == ["/bin/sleep", "0.1"]
