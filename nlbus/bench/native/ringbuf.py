"""A BPF ring buffer with a consumer in C, by ringbuf.c: what nlbus.ko is compared with."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple, Self

from nlbus.bench.native.compiling import HERE, NoCompiler, compiled
from nlbus.errors import NlbusError

NEEDED = "Debian: apt-get install clang libbpf-dev"


class NoRingbuf(NlbusError, OSError):  # noqa: N818 - as NoCompiler
    """It cannot be measured here; the text says what is missing."""


class Round(NamedTuple):
    """Records that the ring buffer took and that found it full; those seen; ns until the last was."""

    taken: int
    full: int
    received: int
    total_ns: int


def program(place: Path) -> Path:
    """ringbuf.bpf.c, compiled. NoRingbuf."""
    clang = shutil.which("clang")
    if clang is None:
        raise NoRingbuf(f"clang is not installed ({NEEDED})")
    said = subprocess.run(["cc", "-print-multiarch"], check=False, capture_output=True, text=True)
    system = f"/usr/include/{said.stdout.strip()}"
    target = place / "ringbuf.bpf.o"
    done = subprocess.run(
        [clang, "-g", "-O2", "-target", "bpf", "-idirafter", system, "-c", HERE / "ringbuf.bpf.c",
         "-o", target],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise NoRingbuf(f"clang could not compile ringbuf.bpf.c ({NEEDED}): {done.stderr.strip()}")
    return target


class Ringbuf:
    """The consumer, waiting for a round. NoRingbuf, also where the kernel does not take the program."""

    def __init__(self) -> None:
        try:
            consumer = compiled("ringbuf.c", "-lbpf", "-pthread")
        except NoCompiler as error:
            raise NoRingbuf(f"{str(error).partition(chr(10))[0]} ({NEEDED})") from None
        self._process = subprocess.Popen(
            [consumer, program(consumer.parent)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def round(self, count: int) -> Round:
        """So many records, made flat out. NoRingbuf."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{count}\n")
            process.stdin.flush()
        if not (answer := process.stdout.readline()):
            said = process.stderr.read().strip().splitlines()
            raise NoRingbuf(f"the kernel takes no such program: {said[-1] if said else process.wait()}")
        return Round(*map(int, answer.split()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
