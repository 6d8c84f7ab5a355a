"""Whose code a process that only reads spends its time in, by perf; and that process: `python -m` this."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import numpy as np

from nlbus import Subscriber
from nlbus.bench import chains
from nlbus.bench.native import NoCompiler, Voice
from nlbus.bench.results import Measurement, Missing

SECTION = "profile"
GROUP = 6
BURST = 256  # datagrams
HERTZ = 4999
PATIENCE = 20.0  # seconds until perf is given up
COPIES = ("_copy_to_iter", "copy_to_user", "__skb_datagram_iter", "skb_copy_datagram")
HELP = "install it (Debian: linux-perf), or lower kernel.perf_event_paranoid"


class NoPerf(Exception):  # noqa: N818 - it is the name of what is missing
    """perf cannot be used here; the text says why."""


def sampled(per: int, seconds: float) -> Measurement | Missing:
    """Shares of a process that reads datagrams of `per` messages, as fast as they come."""
    try:
        shares = _sampled(per, seconds)
    except (NoCompiler, NoPerf) as error:
        return Missing(SECTION, f"perf, {per} messages a datagram", str(error))
    return Measurement(
        section=SECTION,
        subject="perf",
        work=f"raw:2, {per} messages of 64 bytes a datagram, whose code runs",
        unit="% nlbus",
        samples=(100 * shares.get("nlbus", 0.0),),
        parameters={"messages": per},
        details={"shares": shares},
        note=", ".join(f"{name} {share:.0%}" for name, share in shares.items()),
    )


def _sampled(per: int, seconds: float) -> dict[str, float]:
    if shutil.which("perf") is None:
        raise NoPerf(f"no perf: {HELP}")
    source = chains.uniform(2048)
    rng = np.random.default_rng(per)
    with TemporaryDirectory() as folder, Voice() as voice:
        data = Path(folder) / "perf.data"
        with _child(sys.executable, "-m", "nlbus.bench.sampling") as reader:
            assert reader.stdout is not None
            reader.stdout.readline()
            # Its own clock: it takes a while until perf is attached.
            record = ("perf", "record", "-e", "cpu-clock", "-F", str(HERTZ), "-o", str(data))
            with _child(*record, "-p", str(reader.pid), "--", "sleep", str(seconds)) as perf:
                give_up = monotonic() + seconds + PATIENCE
                while perf.poll() is None and monotonic() < give_up:
                    voice.post(GROUP, source.memory, *source.datagrams(BURST, per, rng))
                perf.terminate()
                _, why = perf.communicate()
            if not data.exists():
                raise NoPerf(f"perf record: {why.strip().splitlines()[-1] if why.strip() else HELP}; {HELP}")
        report = subprocess.run(
            ["perf", "report", "-i", data, "--stdio", "-F", "sample,dso,sym", "-t", ";"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return classified(report.stdout)


@contextmanager
def _child(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A process that ends with the context. In a session of its own: Ctrl-C is for us."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def classified(report: str) -> dict[str, float]:
    """Shares by whose code it is, from `perf report -F sample,dso,sym -t ;`. NoPerf if there is nothing."""
    found: Counter[str] = Counter()
    for line in report.splitlines():
        parts = [part.strip() for part in line.split(";")]
        if len(parts) >= 3 and parts[0].isdigit():
            found[_owner(parts[1], parts[2])] += int(parts[0])
    total = found.total()
    if not total:
        raise NoPerf(f"perf took no sample; {HELP}")
    if not any(name.startswith("kernel") for name in found):
        raise NoPerf(f"perf may not look into the kernel: {HELP}")
    return {name: count / total for name, count in found.most_common()}


def _owner(binary: str, symbol: str) -> str:
    if binary.startswith("[kernel") or symbol.startswith("[k]"):
        return "kernel: copy" if any(name in symbol for name in COPIES) else "kernel: all else"
    if "numpy" in binary or "_multiarray" in binary:
        return "numpy"
    if binary.startswith(("libpython", "python")):
        return "Python"
    return "nlbus" if ".cpython-" in binary or ".abi3" in binary else "libc and others"


def main() -> None:
    """Read until killed."""
    with Subscriber("raw:2", groups=GROUP, on_loss="ignore") as sub:
        print("ready", flush=True)
        for batch in sub:
            assert len(batch.messages) == len(batch.records(chains.EVENT))


if __name__ == "__main__":
    main()
