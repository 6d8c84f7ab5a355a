"""Rounds of publishers and subscribers, each a process, in one private network namespace.

    python -m tests.support.ledger.rounds SEED [ROUNDS [TRANSPORT]]      replays rounds; one JSON line each

A round's plan follows from its seed alone; the kernel's scheduling does not, so a seed may need several
replays. NLBUS_LEDGER_KEEP names a folder for the histories of failed rounds. Publishers log what they send to
memory shared with this process, before and after each call, so that SIGKILL cannot
destroy it.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import pickle
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nlbus import Batch, Publisher, Subscriber
from tests.support.ledger.check import Checker, check_publishers
from tests.support.ledger.listening import Listening
from tests.support.ledger.plans import ROUND_TIMEOUT, PublisherPlan, SubscriberPlan, planned
from tests.support.ledger.publishing import Log, publish
from tests.support.ledger.truth import Heard, Sent

CLONE_NEWNET = 0x40000000


def enter_private_network() -> None:
    """Move this process into a network namespace of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        raise OSError(
            ctypes.get_errno(), "unshare(CLONE_NEWNET): needs CAP_SYS_ADMIN, or run under `unshare -Ur`"
        )


def spawn(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


class Round:
    """One round, from fork to verdict."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.plan = planned(seed)
        self.folder = folder
        self.board = mmap.mmap(-1, 4096)  # byte 0: the round is over; from 16: open subscribers
        self.children: dict[int, Any] = {}
        self.logs: list[tuple[PublisherPlan, int, Log]] = []

    def run(self) -> dict[str, Any]:
        try:
            self.play()
        finally:
            for pid in self.children:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        return self.judge()

    def subscriber(self, plan: SubscriberPlan) -> None:
        heard = Listening(plan, self.plan.universe, lambda: self.board[0] == 1)
        if not plan.delay:
            original = heard.take

            def ready(batch: Batch) -> bool:
                self.board[16 + plan.number] = 1
                return original(batch)

            heard.take = ready  # type: ignore[method-assign]
        found = heard.run()
        (self.folder / f"{self.plan.seed}-{plan.number}").write_bytes(pickle.dumps(found))

    def publisher(self, plan: PublisherPlan, incarnation: int) -> None:
        log = Log()
        self.logs.append((plan, incarnation, log))
        self.children[spawn(lambda: publish(plan, incarnation, log))] = plan

    def play(self) -> None:
        deadline = time.monotonic() + ROUND_TIMEOUT
        for plan in self.plan.subscribers:
            self.children[spawn(lambda plan=plan: self.subscriber(plan))] = plan  # type: ignore[misc]
        ready = [16 + plan.number for plan in self.plan.subscribers if not plan.delay]
        while not all(self.board[i] for i in ready):
            self.expect(time.monotonic() < deadline, "subscribers do not open")
            self.reap()
            time.sleep(0.001)
        for publisher in self.plan.publishers:
            self.publisher(publisher, 0)
        began = time.monotonic()
        kills = list(self.plan.kills)
        while any(isinstance(plan, PublisherPlan) for plan in self.children.values()):
            if kills and time.monotonic() >= began + kills[0][0]:
                self.kill(self.plan.publishers[kills.pop(0)[1]])
            self.expect(time.monotonic() < deadline, "publishers do not end")
            self.reap()
            time.sleep(0.001)
        self.board[0] = 1
        while self.children:
            self.expect(time.monotonic() < deadline, "subscribers do not end")
            self.reap()
            time.sleep(0.001)

    def expect(self, condition: bool, otherwise: str) -> None:
        if not condition:
            raise TimeoutError(f"{otherwise}: {list(self.children.values())}")

    def kill(self, plan: PublisherPlan) -> None:
        for pid, child in list(self.children.items()):
            if child is plan:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                del self.children[pid]
                self.publisher(plan, 1 + max(i for other, i, _ in self.logs if other is plan))

    def reap(self) -> None:
        for pid, child in list(self.children.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self.children[pid]
                self.expect(status == 0, f"{type(child).__name__} {child.number} failed, {status}")

    def judge(self) -> dict[str, Any]:
        sent: list[Sent] = []
        reported: dict[tuple[int, int], dict[str, Any]] = {}
        for plan, incarnation, log in self.logs:
            sent += log.streams_of(plan, incarnation)
            stats = log.stats()
            if stats is not None:
                reported[plan.number, incarnation] = stats
        violations = check_publishers(sent, reported)
        totals = {
            "sent": sum(stream.events for stream in sent),
            "delivered": 0,
            "lost": 0,
            "dropped": 0,
            "open": 0,
        }
        required = counted = 0
        everyone = []
        for listener in self.plan.subscribers:
            heard: Heard = pickle.loads((self.folder / f"{self.plan.seed}-{listener.number}").read_bytes())
            everyone.append(heard)
            checker = Checker(sent, heard)
            violations += checker.check()
            required += checker.required
            counted += checker.counted
            for name in ("delivered", "lost", "dropped", "open"):
                totals[name] += heard.stats[name]
        if violations and "NLBUS_LEDGER_KEEP" in os.environ:
            path = Path(os.environ["NLBUS_LEDGER_KEEP"]) / f"{self.plan.seed}.pickle"
            path.write_bytes(pickle.dumps((sent, everyone)))
        return {
            "seed": self.plan.seed, "publishers": len(self.plan.publishers), "incarnations": len(self.logs),
            "subscribers": len(self.plan.subscribers), **totals, "required": required, "counted": counted,
            "violations": violations,
        }  # fmt: skip


def main(seed: int, rounds: int, transport: str) -> int:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    for made in (Publisher, Subscriber):
        made.__init__.__kwdefaults__["transport"] = transport
    enter_private_network()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="nlbus-ledger-") as folder:
        for one in range(seed, seed + rounds):
            began = time.monotonic()
            try:
                result = Round(one, Path(folder)).run()
            except Exception:
                result = {"seed": one, "violations": [traceback.format_exc()]}
            result["seconds"] = round(time.monotonic() - began, 2)
            bad += bool(result["violations"])
            print(json.dumps(result), flush=True)
            for path in Path(folder).iterdir():
                path.unlink()
    return 1 if bad else 0


if __name__ == "__main__":
    seed, rounds, transport, *_ = [*sys.argv[1:], *("1", "auto")[max(len(sys.argv) - 2, 0) :]]
    sys.exit(main(int(seed), int(rounds), transport))
