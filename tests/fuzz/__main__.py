"""python -m tests.fuzz [TARGET ...] [--seconds S]: fuzz targets in turn; exit code 1 if one has a finding.

Needs atheris and extensions built with clang's -fsanitize=address,fuzzer-no-link: `make fuzz` prepares both.
A finding is saved as build/fuzz/found/TARGET-...; `python -m tests.fuzz --replay FILE` repeats it without
atheris. The corpora grow in build/fuzz/corpus, from seeds that targets.py makes.
"""

import argparse
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from hashlib import sha1
from pathlib import Path

LONGEST = 4096  # bytes of an input
COMPILED = ("wire", "route", "attributes")  # targets of which no Python code is worth counting
SLOW = 10  # seconds that an input may take


def fuzz(name: str, seconds: int, to: Path) -> None:
    """Fuzz a target for some seconds; atheris ends the process."""
    import atheris

    python = atheris.instrument_imports(include=["nlbus"], exclude=["nlbus._core", "nlbus._wire"])
    with nullcontext() if name in COMPILED else python:
        from tests.fuzz.targets import TARGETS, run
    corpus, found = to / "corpus" / name, to / "found"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in TARGETS[name][1]():
        (corpus / sha1(seed).hexdigest()).write_bytes(seed)
    found.mkdir(exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={LONGEST}",
        f"-timeout={SLOW}",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
        f"-artifact_prefix={found}/{name}-",
    ]
    if "CI" in os.environ:
        options.append("-seed=1")  # CI judges a change, not its luck
    atheris.Setup([sys.argv[0], *options, str(corpus)], lambda data: run(name, data))
    atheris.Fuzz()


def every(names: list[str], seconds: int, to: Path) -> int:
    """Fuzz these targets, each in a process of its own; return how many have a finding."""
    findings = 0
    for name in names:
        share = max(1, seconds // len(names))
        command = [sys.executable, "-m", "tests.fuzz", f"--one={name}", f"--seconds={share}", f"--to={to}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        said = done.stdout.decode(errors="replace")
        runs = re.search(r"number_of_executed_units:\s*(\d+)", said)
        print(f"{name:12}{int(runs[1]) if runs else 0:12,} runs", flush=True)
        if done.returncode:
            findings += 1
            lines = [line for line in said.splitlines() if not line.startswith("#")]
            print("\n".join(lines[-60:]), file=sys.stderr, flush=True)
    return findings


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.fuzz")
    parser.add_argument("targets", nargs="*", help="names in targets.py, or all")
    parser.add_argument("--seconds", type=int, default=600, help="of all targets together")
    parser.add_argument("--to", type=Path, default=Path("build/fuzz"), help="where corpus/ and found/ are")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, help="a file in build/fuzz/found")
    options = parser.parse_args()
    if options.one:
        fuzz(options.one, options.seconds, options.to)
        return 0
    from tests.fuzz.targets import TARGETS, run

    if options.replay:
        run(options.replay.name.split("-")[0], options.replay.read_bytes())
        return 0
    names = [name for name in options.targets if name != "all"] or list(TARGETS)
    if unknown := [name for name in names if name not in TARGETS]:
        parser.error(f"no target {unknown[0]!r}: {', '.join(TARGETS)}")
    return 1 if every(names, options.seconds, options.to) else 0


if __name__ == "__main__":
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(main())
