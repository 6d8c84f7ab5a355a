"""Run first by `make test-asan`: the modules are instrumented, and the sanitizers report faults."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(ROOT.glob("nlbus/_*/**/*.pyx"))
]

# events_of trusts selected rows: this row's times lie behind its block's memory.
OVER_READ = """
import numpy as np
from nlbus._core.columns.blocks import from_datagrams
from nlbus._core.columns.records import SEGMENT, events_of
block, _ = from_datagrams(0, [bytes(4096)], 0, 0)
rows = np.zeros(1, SEGMENT)
rows["count"] = 1
rows["times_at"] = block.rows_at  # there are no rows
events_of(block, rows, 1)
"""


@pytest.mark.parametrize("module", MODULES)
def test_the_module_is_the_instrumented_one(module: str) -> None:
    found = Path(str(__import__(module, fromlist=["_"]).__file__))
    assert ROOT.parts[-2:] == ("build", "asan")
    assert found.is_relative_to(ROOT)
    assert b"__asan_report_load" in found.read_bytes()
    assert b"__ubsan_handle" in found.read_bytes()


def test_an_over_read_is_reported_and_ends_the_process() -> None:
    child = subprocess.run(
        [sys.executable, "-c", OVER_READ], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert child.returncode != 0
    assert "heap-buffer-overflow" in child.stderr
    assert "READ of size 4" in child.stderr
    assert "records.c" in child.stderr or "records.pyx" in child.stderr
