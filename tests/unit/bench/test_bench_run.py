"""`nlbus bench`: runs and their end, plans, and the machine. Nothing is measured."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nlbus import KernelError
from nlbus.bench import Missing, Report, machine, namespace
from nlbus.bench.plans import BUDGET, SECTIONS, Scale, Section, section
from nlbus.bench.run import run
from nlbus.cli.actions import bench
from tests.support.bench_reports import invoke, rate

# -- a run ----------------------------------------------------------------------------------------


class Steps(Section):
    """A section that follows a script, and records how it ended."""

    caveats = ("It is made up.",)  # type: ignore[assignment]

    def measure(self, plan: Scale, tell: Any) -> Iterator[Any]:  # type: ignore[override]
        try:
            tell("now")
            yield rate(float(plan.rounds))
            yield Missing(self.name, "one", "why")
            if self.name == "fails":
                raise KernelError(1, "doing it")
            if self.name == "interrupted":
                raise KeyboardInterrupt
            if self.name == "breaks":
                raise ZeroDivisionError("by accident")
        finally:
            ended.append(self.name)


ended: list[str] = []


def steps(*names: str) -> list[tuple[Section, Scale]]:
    plan = Scale("quick", 7, 1)
    return [(Steps(name, "", "", plan, plan), plan) for name in names]


def test_a_failed_section_is_named_and_the_others_are_measured() -> None:
    ended.clear()
    found = Report("", {}, "", "")
    assert run(found, steps("fails", "good"), lambda text: None) == []
    assert [one.median for one in found.measurements] == [7, 7]
    assert [one.subject for one in found.missing] == ["one", "all further fails", "one"]
    assert "doing it" in found.missing[1].why
    assert ended == ["fails", "good"]
    assert found.caveats == ["It is made up."] * 2


def test_an_unexpected_error_costs_one_section_and_is_reported() -> None:
    found = Report("", {}, "", "")
    assert run(found, steps("breaks", "good"), lambda text: None) == ["breaks"]
    assert len(found.measurements) == 2
    assert Missing("breaks", "all further breaks", "ZeroDivisionError: by accident") in found.missing


@pytest.fixture
def unmoved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep `bench quick` in this network namespace."""
    monkeypatch.setattr(namespace, "become_root", lambda: None)
    monkeypatch.setattr(namespace, "enter", lambda: "")


@pytest.mark.parametrize(("name", "code"), [("good", 0), ("fails", 0), ("breaks", 1), ("interrupted", 130)])
def test_measurements_are_saved_however_the_run_ends(
    name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmoved: None
) -> None:
    path = tmp_path / "x.json"
    path.write_text("of another run")
    ((made, _),) = steps(name)
    monkeypatch.setattr(bench, "SECTIONS", (made,))
    result = invoke("quick", "--json", str(path))
    assert result.exit_code == code, result.output
    found = Report.load(path)
    assert len(found.measurements) == 1
    assert ("Broken off: some of it was not measured." in found.caveats) == (name == "interrupted")
    assert ("failed: breaks" in result.stderr) == (name == "breaks")


def test_a_pipe_receives_one_report(monkeypatch: pytest.MonkeyPatch, unmoved: None) -> None:
    monkeypatch.setattr(bench, "SECTIONS", tuple(each for each, _ in steps("good", "good")))
    reader, writer = os.pipe()
    assert invoke("quick", "--json", f"/dev/fd/{writer}").exit_code == 0
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert len(json.load(pipe)["measurements"]) == 2


def test_after_a_kill_the_file_has_the_measurements_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmoved: None
) -> None:
    path = tmp_path / "x.json"
    monkeypatch.setattr(bench, "SECTIONS", tuple(each for each, _ in steps("good", "good")))
    held: list[tuple[int, list[str]]] = []

    def measure(report: Report, planned: Any, tell: Any) -> list[str]:
        found = Report.load(path)
        held.append((len(found.measurements), found.caveats))
        return run(report, planned, tell)

    monkeypatch.setattr(bench, "run", measure)
    assert invoke("quick", "--json", str(path)).exit_code == 0
    assert [count for count, _ in held] == [0, 1]
    assert all("Broken off: some of it was not measured." in caveats for _, caveats in held)


def test_unusable_files_are_reported_before_any_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unmoved: None
) -> None:
    monkeypatch.setattr(bench, "run", lambda *_: pytest.fail("it measures"))
    result = invoke("quick", "--json", str(tmp_path / "nodir/x.json"))
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert "nodir/x.json: cannot be written" in result.stderr
    (tmp_path / "nlbus_test_plugin.py").write_text("1 // 0")
    monkeypatch.syspath_prepend(tmp_path)
    for spec in ("nope:X", "nlbus_test_plugin:X", "json:JSONEncoder"):
        result = invoke("quick", "--only", "transports", "--transport", spec)
        assert result.exit_code == 2, result.output
        assert spec in result.stderr


def test_measurements_before_an_interrupt_stay_in_the_report() -> None:
    ended.clear()
    found = Report("", {}, "", "")
    with pytest.raises(KeyboardInterrupt):
        run(found, steps("interrupted", "good"), lambda text: None)
    assert len(found.measurements) == 1
    assert ended == ["interrupted"]


def test_plans_stay_within_their_budgets() -> None:
    assert sum(each.quick.seconds for each in SECTIONS if not each.named) <= BUDGET["quick"] < 60
    assert sum(each.full.seconds for each in SECTIONS if not each.named) <= BUDGET["full"] < 900
    made = section("x", "about", quick=(3, 1.5), full=(15, 30))
    assert (made.quick, made.full) == (Scale("quick", 3, 1.5), Scale("full", 15, 30))


# -- the machine ----------------------------------------------------------------------------------


def test_the_machine_is_described_in_json() -> None:
    found = machine.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["cores"] >= 1
    assert found["cpu"]
    assert int(found["net/core/rmem_max"]) > 0
    assert found["packages"]["numpy"]
    assert len(found["commit"].rstrip("+")) in (0, 12)  # 12 in a checkout that git trusts
    assert found["privileges"] in ("root", "namespace", "user")


def test_system_versions_are_read_from_programs_output(monkeypatch: pytest.MonkeyPatch) -> None:
    says = {
        "ip": "ip utility, iproute2-6.1.0, libbpf 1.1.0",
        "conntrack": "conntrack v1.4.7 (conntrack-tools)",
        "udevadm": "252 (252.38-1~deb12u1)",
    }
    monkeypatch.setattr(machine, "_said", lambda name, *_: says.get(name, ""))
    monkeypatch.setattr(machine, "LIBRARIES", {})
    assert dict(machine._of_system()) == {"iproute2": "6.1.0", "conntrack": "1.4.7", "udev": "252"}
    monkeypatch.undo()
    assert machine._said("no-such-program") == machine._said("false") == ""
    assert machine._said("echo", "7") == "7"


def test_caveats_name_what_weakens_the_figures() -> None:
    quiet = {"virtual": "", "load": 0.1, "cores": 2, "governor": "performance", "privileges": "root"}
    limits = {"net/core/rmem_max": "212992"}
    assert machine.caveats(quiet | limits) == []
    bad = {"virtual": "KVM", "load": 1.0, "governor": "powersave", "privileges": "user"}
    said = "\n".join(machine.caveats(quiet | limits | bad))
    for word in ("KVM", "1.0", "powersave", "212992"):
        assert word in said
