"""The instruction-count gate: reading callgrind's files, and failing."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[3] / "bench/instructions"
COUNTED = """\
desc: Trigger: Client Request: decode link, shapes differ=500
thread: 1
events: Ir
ob=/usr/lib/libc.so.6
fn=memcpy
12 900
ob=/venv/nlbus/_core/columns/decode.cpython-311-x86_64-linux-gnu.so
fl=decode.c
fn=decode
10 100
+3 20
cob=/usr/lib/libc.so.6
cfn=memcpy
calls=7 12
+1 900
fi=cursor.h
* 5
ob=/venv/numpy/_core/multiarray.so
fn=f
1 4000
ob=/venv/nlbus/_wire/wire.cpython-311-x86_64-linux-gnu.so
fn=g
-1 3
"""


@pytest.fixture
def gate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("gate", FOLDER / "gate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_nlbus_own_instructions_count(gate: ModuleType) -> None:
    assert gate.counted(COUNTED) == ("decode link, shapes differ", {"events": 500, "instructions": 128})


@pytest.mark.parametrize(
    ("now", "wrong"),
    [
        ({"walk": (500, 1019)}, 0),
        ({"walk": (1000, 2038)}, 0),
        ({"walk": (500, 1021)}, 1),
        ({"walk": (500, 700)}, 0),
        ({"walk": (500, 10)}, 1),  # nothing was counted
        ({}, 1),
        ({"walk": (500, 1000), "new": (500, 1)}, 1),
    ],
)
def test_more_than_two_per_cent_or_another_set_of_loops_fails(
    gate: ModuleType, now: dict[str, tuple[int, int]], wrong: int
) -> None:
    def counts(of: dict[str, tuple[int, int]]) -> dict[str, dict[str, int]]:
        return {name: {"events": each[0], "instructions": each[1]} for name, each in of.items()}

    assert len(gate.compare(counts({"walk": (500, 1000)}), counts(now))) == wrong


TOOLS = {"architecture": "x86_64", "compiler": "gcc 12.2.0", "cython": "3.3.1", "python": "3.11.7"}


@pytest.mark.parametrize(
    ("here", "lines", "comparable"),
    [
        ({}, 0, True),
        ({"python": "3.11.2"}, 1, True),
        ({"cython": "3.3.2", "compiler": "gcc 12.3.0"}, 2, True),
        ({"python": "3.12.7"}, 1, False),
        ({"python": "3.1.7"}, 1, False),
        ({"cython": "3.4.1"}, 1, False),
        ({"compiler": "gcc 13.2.0"}, 1, False),
        ({"compiler": "clang 12.2.0"}, 1, False),
        ({"architecture": "aarch64"}, 1, False),
    ],
)
def test_releases_of_a_series_are_compared_and_named(
    gate: ModuleType, here: dict[str, str], lines: int, comparable: bool
) -> None:
    said, able = gate.differing(TOOLS, TOOLS | here)
    assert (len(said), able) == (lines, comparable)


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_another_toolchain_compares_nothing_and_fails_in_ci(
    ci: str, code: int, gate: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(gate.shutil, "which", lambda _: "/usr/bin/valgrind")
    monkeypatch.setattr(gate.Path, "exists", lambda _: True)
    monkeypatch.setattr(gate, "toolchain", lambda: TOOLS | {"compiler": "gcc 99"})
    monkeypatch.setattr(gate.sys, "argv", ["gate.py"])
    assert gate.main() == code
    said = capsys.readouterr().err
    assert "NOTHING IS COMPARED" in said
    assert "compiler: gcc 12.2.0 in the baseline, gcc 99 here" in said


def test_the_baseline_is_complete() -> None:
    baseline = json.loads((FOLDER / "baseline.json").read_text())
    assert set(baseline["toolchain"]) == {"architecture", "compiler", "cython", "python"}
    assert len(baseline["loops"]) >= 14
    assert all(loop["events"] > 0 and loop["instructions"] > 0 for loop in baseline["loops"].values())
