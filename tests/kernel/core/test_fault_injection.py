"""One system call or allocation of the compiled modules fails: see tests/support/faults."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = Path(__file__).parents[2] / "support" / "faults"


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if "asan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the sanitizer has allocators of its own")
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    made = tmp_path_factory.mktemp("faults") / "shim.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", made, FAULTS / "shim.c", "-ldl"], check=True)
    return made


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "calls", [pytest.param(2, id="the first two of each"), pytest.param(0, id="all", marks=pytest.mark.soak)]
)
def test_whatever_fails_nothing_is_lost_unseen_nothing_leaks_and_nothing_hangs(
    shim: Path, calls: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.faults.scenes", str(calls)],
        env=os.environ | {"LD_PRELOAD": str(shim)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(f"{scene}: malloc" in done.stdout for scene in ("bus", "kernel", "dump"))
    assert "recvmmsg" in done.stdout
