"""What `nlbus bench kmod` measures with: everything that is sent is received, and counted once."""

import shutil

import pytest

from nlbus import Subscriber
from nlbus.bench.generator import Ear, heard, in_c, records
from nlbus.bench.native.floor import Ears
from nlbus.bench.native.ringbuf import Ringbuf
from tests.guest.helpers import DEBUG, MAX_DATAGRAM, SLOW, protocol

COUNT = 1000 // SLOW


def check(ear: Ear, group: int, call: str) -> None:
    run = heard([ear], COUNT, groups=1 << (group - 1), call=call)
    assert run.sent == run.delivered == COUNT
    assert run.total_ns > 0
    assert run.publish_ns > 0


@pytest.mark.parametrize("call", ["publish", "broadcast"])
def test_python_has_all_records(call: str) -> None:
    with Subscriber(groups=1, transport="module", on_loss="ignore") as sub:
        check(records(sub), 1, call)


def test_c_has_seen_all_events() -> None:
    with Ears(1 << 2, MAX_DATAGRAM, protocol()) as ears:
        ear = in_c(ears)
        check(ear, 3, "publish")
        check(ear, 3, "publish")


@pytest.mark.skipif(DEBUG, reason="bpf_loop needs a kernel that compiles BPF: CONFIG_BPF_JIT")
@pytest.mark.skipif(shutil.which("clang") is None, reason="clang is not installed")
def test_a_bpf_ring_buffer_takes_or_counts_every_record() -> None:
    with Ringbuf() as ringbuf:
        for count in (1, 1000, 100_000):
            run = ringbuf.round(count)
            assert run.taken + run.full == count
            assert run.received == run.taken
            assert run.total_ns > 0
