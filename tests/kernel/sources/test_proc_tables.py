"""proc's tables, fed by this test's own processes."""

import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nlbus import Batch, Subscriber
from nlbus.sources import find
from nlbus.sources.probe import probe
from tests.support.sockets import NOBODY, drain

Subscribe = Callable[..., Subscriber]
Row = dict[str, Any]
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NAME = 15
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


@pytest.fixture(autouse=True)
def _at_home(first_netns: None) -> None:
    tried = probe(find("proc"))
    if tried is None or not tried.available:
        pytest.skip("this kernel has no process connector" if tried is None else tried.reason)


def child(work: Callable[[], object]) -> tuple[int, int]:
    """Run work() in a forked process; returns its pid and wait status."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid, os.waitpid(pid, 0)[1]


def rows_until_exit(sub: Subscriber, table: str) -> Iterator[Row]:
    for batch in drained(sub):
        yield from batch.table(table).iter_rows()


def drained(sub: Subscriber) -> list[Batch]:
    """All batches up to the exit event of a process that this function makes."""
    last = subprocess.Popen(["true"])
    last.wait()
    batches: list[Batch] = []
    while True:
        batch = sub.recv(5)
        assert len(batch)
        batches.append(batch)
        if any(batch.table("exit")["process_tgid"] == last.pid):
            return batches


def of(rows: Iterator[Row], pid: int, name: str = "process_pid") -> list[Row]:
    return [row for row in rows if row[name] == pid]


def test_a_fork_has_parent_and_child(subscribe: Subscribe) -> None:
    sub = subscribe("proc", tables=["fork", "exit"])
    pid, _ = child(lambda: None)
    [row] = of(rows_until_exit(sub, "fork"), pid, "child_pid")
    assert row["nl_op"] == "new"
    assert (row["child_tgid"], row["parent_tgid"]) == (pid, os.getpid())
    assert row["parent_pid"] == threading.get_native_id()


def test_a_thread_is_a_child_of_its_process_and_exits_without_a_signal(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    tid = thread.native_id
    assert tid is not None
    batches = drained(sub)
    forks = [row for batch in batches for row in batch.table("fork").iter_rows() if row["child_pid"] == tid]
    exits = [row for batch in batches for row in batch.table("exit").iter_rows() if row["process_pid"] == tid]
    assert [row["child_tgid"] for row in forks] == [os.getpid()]
    assert [(row["process_tgid"], row["exit_signal"]) for row in exits] == [(os.getpid(), -1)]


def test_the_clock_counts_from_the_kernels_boot(subscribe: Subscribe) -> None:
    sub = subscribe("proc", tables=["fork", "exit"])
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    pid, _ = child(lambda: None)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    batches = drained(sub)
    [made] = [row for batch in batches for row in batch.table("fork").iter_rows() if row["child_pid"] == pid]
    [gone] = [
        row for batch in batches for row in batch.table("exit").iter_rows() if row["process_pid"] == pid
    ]
    assert before < made["timestamp_ns"] < gone["timestamp_ns"] < after
    assert made["cpu"] in range(os.cpu_count() or 1)


def test_events_are_numbered_per_cpu(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    for _ in range(20):
        child(lambda: None)
    numbers: dict[int, list[int]] = {}
    for batch in drained(sub):
        rows = sorted(
            (row["nl_row"], row["cpu"], row["seq"])
            for table in find("proc").tables
            for row in batch.table(table).iter_rows()
        )
        for _, cpu, seq in rows:
            numbers.setdefault(cpu, []).append(seq)
    assert sum(map(len, numbers.values())) >= 40
    for each in numbers.values():
        assert each == list(range(each[0], each[0] + len(each)))


def test_an_exec(subscribe: Subscribe) -> None:
    sub = subscribe("proc", tables=["exec", "exit"])
    pid, _ = child(lambda: os.execvp("true", ["true"]))
    assert [row["process_tgid"] for row in of(rows_until_exit(sub, "exec"), pid)] == [pid]


@pytest.mark.parametrize("code", [0, 7, 255])
def test_an_exit_has_the_same_code_as_waitpid(code: int, subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    pid, status = child(lambda: os._exit(code))
    [row] = of(rows_until_exit(sub, "exit"), pid)
    assert row["exit_code"] == status
    assert os.waitstatus_to_exitcode(row["exit_code"]) == code
    assert row["exit_signal"] == signal.SIGCHLD
    assert (row["process_tgid"], row["parent_tgid"]) == (pid, os.getpid())
    assert row["parent_pid"] == threading.get_native_id()


def test_the_exit_of_a_thread_has_no_parent(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    [row] = [row for row in rows_until_exit(sub, "exit") if row["process_pid"] == thread.native_id]
    assert row["process_tgid"] == os.getpid()
    assert (row["parent_pid"], row["parent_tgid"]) == (None, None)


def test_a_death_by_a_signal(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    pid, status = child(lambda: os.kill(os.getpid(), signal.SIGKILL))
    [row] = of(rows_until_exit(sub, "exit"), pid)
    assert row["exit_code"] == status == signal.SIGKILL


def test_a_core_dump(subscribe: Subscribe) -> None:
    sub = subscribe("proc")

    def work() -> None:
        os.chdir("/")
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        libc.setrlimit(
            4, ctypes.create_string_buffer(16)
        )  # no core file; the kernel reports the event anyway
        os.abort()

    pid, status = child(work)
    assert os.WTERMSIG(status) == signal.SIGABRT
    batches = drained(sub)
    dumps = of((row for batch in batches for row in batch.table("coredump").iter_rows()), pid)
    assert [(row["process_tgid"], row["parent_tgid"]) for row in dumps] == [(pid, os.getpid())]
    [gone] = of((row for batch in batches for row in batch.table("exit").iter_rows()), pid)
    assert gone["exit_code"] & 0x7F == signal.SIGABRT


def test_changes_of_users_groups_and_sessions_have_rows(subscribe: Subscribe) -> None:
    if os.geteuid():
        pytest.skip("becoming another user needs root")
    sub = subscribe("proc")

    def work() -> None:
        os.setresgid(NOBODY, 5, NOBODY)
        os.setresuid(NOBODY, 6, NOBODY)
        os.setsid()

    pid, status = child(work)
    if status:
        pytest.skip("this user namespace has no other user")
    batches = drained(sub)

    def rows(table: str) -> list[Row]:
        return of((row for batch in batches for row in batch.table(table).iter_rows()), pid)

    assert [(row["process_tgid"], row["rgid"], row["egid"]) for row in rows("gid")] == [(pid, NOBODY, 5)]
    assert [(row["process_tgid"], row["ruid"], row["euid"]) for row in rows("uid")] == [(pid, NOBODY, 6)]
    assert [row["process_tgid"] for row in rows("sid")] == [pid]


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("short", "short"),
        ("exactly-fifteen", "exactly-fifteen"),
        ("longer-than-the-kernel-keeps", "longer-than-the"),
        ("ünï", "ünï"),
    ],
)
def test_a_name_is_text(name: str, kept: str, subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    pid, _ = child(lambda: libc.prctl(PR_SET_NAME, name.encode(), 0, 0, 0))
    assert [row["comm"] for row in of(rows_until_exit(sub, "comm"), pid)] == [kept]


def test_attaching_and_detaching_a_tracer(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    ready, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(writer, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(ready, 1)
    os.close(ready)
    os.close(writer)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    try:
        if libc.ptrace(PTRACE_SEIZE, pid, None, None) < 0:
            pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
        libc.ptrace(PTRACE_INTERRUPT, pid, None, None)
        os.waitpid(pid, 0)
        libc.ptrace(PTRACE_DETACH, pid, None, None)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    rows = of(rows_until_exit(sub, "ptrace"), pid)
    assert [(row["process_tgid"], row["tracer_tgid"]) for row in rows] == [(pid, os.getpid()), (pid, 0)]
    assert rows[0]["tracer_pid"] == threading.get_native_id()


def test_each_table_has_its_own_rows_and_together_they_have_all(subscribe: Subscribe) -> None:
    sub = subscribe("proc")
    child(lambda: os.execvp("true", ["true"]))
    for batch in drained(sub) + drain(sub):
        rows = [row for table in find("proc").tables for row in batch.table(table)["nl_row"].tolist()]
        assert sorted(rows) == list(range(len(batch)))
        tables = [batch.table(name) for name in find("proc").tables]
        assert not any(table.unknown or table.malformed or table.damaged.any() for table in tables)
