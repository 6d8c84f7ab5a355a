"""`nlbus demo`: its totals, its isolation, and its errors where it cannot run."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from nlbus import Subscriber
from nlbus.bench.native.compiling import PLACE

ROOT = Path(__file__).resolve().parents[3]
COMMAND = [sys.executable, "-m", "nlbus", "demo"]
# "  1,2   12,345   1.2 M  A (1,2)   12,000   345   1.1 M  yes", the first three only in a stream's first row.
ROW = re.compile(
    r"^ {2}(?:([\d,]+) +([\d,]+) +\S+ M)? +([ABC]) \(([\d,]+)\) +([\d,]+) +([\d,]+) +\S+ M  (.*)$"
)

pytestmark = pytest.mark.timeout(180)


def demo(*prefix: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, *COMMAND], capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | env
    )


def number(text: str) -> int:
    return int(text.replace(",", ""))


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stderr) == (0, "")
    out = done.stdout
    assert re.search(r"^  link +RTM_NEWLINK +\d+$", out, re.MULTILINE)
    assert re.search(r"^  ipv4_route +RTM_DELROUTE +50\d$", out, re.MULTILINE)
    assert " add     /devices/virtual/net/demo0 " in out
    rows = [match.groups() for match in map(ROW.match, out.splitlines()) if match]
    assert [(row[0], row[2]) for row in rows] == [
        ("1", "A"), ("1,2", "A"), (None, "B"), ("2,3", "A"), (None, "B"), (None, "C"), ("3", "B"),
        (None, "C"),
    ]  # fmt: skip
    sent = 0
    for _, events, _, _, delivered, lost, verdict in rows:
        sent = number(events) if events else sent
        assert sent > 0
        assert verdict == "yes" or "open" in verdict
        if verdict == "yes":
            assert sent == number(delivered) + number(lost)
    assert out.count("none twice or out of order") == 3
    assert re.search(r"^Python reaches \d\.\d\d of the C loop|^Skipped: ", out, re.MULTILINE)


def test_the_demos_totals_add_up_and_this_network_is_unchanged() -> None:
    with Subscriber("route") as route, Subscriber("uevent") as uevent:
        check(demo())
        assert route.stats()["datagrams"] == 0
        assert not route.recv(timeout=0)
        assert not [batch for batch in uevent.batches(timeout=0) if b"demo0" in batch.data.tobytes()]
    assert [name for _, name in socket.if_nameindex()] == ["lo"]


def test_the_demo_runs_in_a_user_namespace() -> None:
    """As an ordinary user: without CAP_SYS_ADMIN, the demo runs itself under `unshare -Urnm`."""
    if shutil.which("setpriv") is None:
        pytest.skip("needs the program setpriv, of util-linux, to give up CAP_SYS_ADMIN")
    prefix = ["setpriv", "--bounding-set=-sys_admin,-net_admin"]
    tried = subprocess.run([*prefix, "unshare", "-Urnm", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no user namespace without CAP_SYS_ADMIN here: {tried.stderr.strip()}")
    assert subprocess.run([*prefix, "unshare", "-nm", "true"], capture_output=True, check=False).returncode
    check(demo(*prefix))


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_without_permission_for_namespaces_the_error_says_so(tmp_path: Path) -> None:
    program(tmp_path, "unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    done = demo(PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert "unshare failed: Operation not permitted" in done.stderr
    assert "Run it as root, or enable user namespaces" in done.stderr


def test_without_unshare_the_error_says_so(tmp_path: Path) -> None:
    done = demo(PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "needs the program unshare" in done.stderr


def test_the_stage_never_runs_in_its_callers_namespace() -> None:
    here = str(Path("/proc/thread-self/ns/net").readlink())
    done = subprocess.run(
        [sys.executable, "-m", "nlbus.cli.demo.stage", here],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "still the network namespace of the caller" in done.stderr


def test_without_a_compiler_the_ratio_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PLACE, raising=False)  # another test of this process may have compiled it there
    for name in ("unshare", "true"):
        (tmp_path / name).symlink_to(shutil.which(name) or pytest.skip(f"needs the program {name}"))
    done = demo(PATH=str(tmp_path), CC="")
    assert done.returncode == 0
    assert "Skipped: no C compiler" in done.stdout
