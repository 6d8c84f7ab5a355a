"""The laboratory: boots kernels in QEMU, loads nlbus.ko and runs tests or a command there.

    python -m tests.lab test [--kernel 6.1 --kernel 6.12] [PYTEST ARGUMENTS]
    python -m tests.lab run [--kernel 6.1] COMMAND...
    python -m tests.lab lint [--kernel 6.1]

A kernel is a series of Debian's, fetched into ~/.cache/nlbus, or "debug", with KASAN, lockdep and more.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from tests.lab import coverage, debug, guest, lint, modules
from tests.lab.apt import Unavailable
from tests.lab.kernels import ROOT, Kernel
from tests.lab.kernels import kernel as debian_kernel

RESULTS = ROOT / "build" / "lab"
ACCUSE = Path(__file__).parent / "accuse.sh"
SKIPPED = 77
BUS = (
    "bus/test_publisher", "bus/test_publisher_linger", "bus/test_membership", "bus/test_ledger",
    "bus/test_ledger_publishers", "bus/test_trust", "core/test_fork",
)  # fmt: skip
# The guest tests, and those of the bus, on each transport.
TESTS = ("tests/guest", *(f"tests/kernel/{name}.py" for name in BUS))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.lab", description=(__doc__ or "").partition("\n")[0])
    actions = parser.add_subparsers(required=True)
    for name, action, what in (
        ("test", test, "run the guest tests; further arguments go to pytest"),
        ("lint", check, "check the modules by sparse, W=1, checkpatch and coccinelle"),
        ("run", run, "load nlbus.ko and run one command as root; only files in /run/lab persist"),
    ):
        one = actions.add_parser(name, help=what, description=what)
        one.add_argument("--kernel", action="append", help='a series of Debian\'s kernels, or "debug"')
        one.add_argument("--timeout", type=float, default=1200, help="seconds until the guest is stopped")
        one.add_argument("--or-skip", action="store_true", help="succeed if no guest can run here")
        one.set_defaults(action=action)
    known, rest = parser.parse_known_args()
    known.rest = rest
    return known


def boot(kernel: Kernel, command: list[str], options: argparse.Namespace, *, tests: bool) -> int:
    """The command's exit status; not 0 either if the kernel reports a fault. Tests load the modules
    themselves and run on one thread, which avoids a fault of the emulator. Other commands may be benchmarks,
    which need two processors in parallel.
    """
    built = modules.build(kernel)
    results = RESULTS / kernel.name
    if not tests:
        command = ["sh", "-ec", f'insmod {built}/nlbus.ko; exec "$@"', "sh", *command]
    environment = {"NLBUS_KMOD": str(built), "NLBUS_GUEST": kernel.name}
    log = results / "console.log"
    status = guest.run(
        kernel, command, results=results, timeout=options.timeout, parallel=not tests, environment=environment
    )
    if status >= guest.FAILED:
        how = f"was stopped after {options.timeout:g} seconds" if status == guest.TIMED_OUT else "failed"
        print(f"the guest {how}; {log} ends:", *guest.lines(log)[-80:], sep="\n", file=sys.stderr)
    if found := guest.accusations(log):
        print(f"the kernel reports, in {log}:", *found[:20], sep="\n    ", file=sys.stderr)
        return status or 1
    return status


def get_kernel(name: str) -> Kernel:
    return debug.kernel() if name == "debug" else debian_kernel(name)


def run(options: argparse.Namespace) -> int:
    """One command in one guest."""
    return boot(get_kernel((options.kernel or ["6.1"])[0]), options.rest or ["bash"], options, tests=False)


def check(options: argparse.Namespace) -> int:
    """1 if one of the kernel's tools complains."""
    complaints = lint.lint(get_kernel((options.kernel or ["6.1"])[0]))
    print(*complaints, sep="\n", end="\n" if complaints else "")
    return int(bool(complaints))


def test(options: argparse.Namespace) -> int:
    """The guest tests on each kernel."""
    names = options.kernel or ["6.1", "6.12"]
    if len(names) > 1:
        return together(names, options)
    [name] = names
    kernel = get_kernel(name)
    print(f"--- {kernel.release} ({kernel.name})", flush=True)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *(options.rest or TESTS)]
    if name == "debug":
        command = ["sh", str(ACCUSE), *command]
    start = time.monotonic()
    status = boot(kernel, command, options, tests=True)
    if name == "debug":
        print(coverage.report(RESULTS / name, modules.folder(kernel)))
    print(f"{kernel.release}: {'failed' if status else 'passed'} after {time.monotonic() - start:.0f} s")
    return status


def together(names: list[str], options: argparse.Namespace) -> int:
    """Several kernels in parallel, each of which keeps less than a core busy; print their logs in the end."""
    running = []
    with ExitStack() as stack:
        for name in names:
            modules.build(get_kernel(name))
            path = RESULTS / name / "tests.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            log = stack.enter_context(path.open("w"))
            print(f"{name}: {path}", flush=True)
            command = [sys.executable, "-m", "tests.lab", "test", f"--kernel={name}"]
            command += [f"--timeout={options.timeout:g}", *["--or-skip"][: options.or_skip], *options.rest]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            running.append((process, path))
        # Failures come last, where a reader looks first.
        running.sort(key=lambda guest: guest[0].wait() != 0)
        for _, path in running:
            print(path.read_text(), flush=True)
    return max(abs(process.returncode) for process, _ in running)


def main() -> int:
    """The process's exit status."""
    options = arguments()
    # Exit by SystemExit, which stops the guests.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    os.chdir(ROOT)
    try:
        status: int = options.action(options)
    except modules.BuildError as error:
        print(error, file=sys.stderr)
        return 1
    except Unavailable as why:
        print(f"no guest kernel here: {why}", file=sys.stderr)
        return 0 if options.or_skip and not os.environ.get("CI") else SKIPPED
    return status


if __name__ == "__main__":
    sys.exit(main())
