"""`nlbus bench` without measuring: reports and comparisons. No speed is judged."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nlbus.bench import Measurement, Missing, Report
from nlbus.bench.report.comparing import Change, compare
from nlbus.bench.results import ResultsError
from nlbus.cli.render.bench import show_report
from tests.support.bench_reports import invoke, rate


def report(*measurements: Measurement, **machine: Any) -> Report:
    described = {"cpu": "x", "cores": 2, "kernel": "6.1", "python": "3.11", "load": 0.0, "packages": {}}
    return Report(
        "nlbus bench quick",
        described | machine,
        "2026-01-01T00:00:00+00:00",
        "0.1.0",
        measurements=list(measurements),
        missing=[Missing("transports", "pigeons", "pip install pigeons")],
        caveats=["Pigeons tire."],
    )


def saved(path: Path, what: Report) -> str:
    what.save(path)
    return str(path)


# -- comparisons ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        (rate(100, 100, 100), rate(150, 150, 150), "better"),
        (rate(100, 100, 100), rate(50, 50, 50), "WORSE"),
        (rate(5, 5, 5, unit="us"), rate(4, 4, 4, unit="us"), "better"),
        (rate(5, 5, 5, unit="us"), rate(6, 6, 6, unit="us"), "WORSE"),
        (rate(60, 100, 140), rate(105, 105, 105), "within spread"),
        (rate(100, 100, 100), rate(60, 105, 140), "within spread"),
        (rate(100, 100, 100, control=(1.0, 1.2, 1.2)), rate(110, 110, 110), "within spread"),
        (rate(100), rate(200, 200), "one sample"),
        (rate(0, 0), rate(5, 5), "no A/A"),
        (rate(100, 100, control=()), rate(50, 50), "no A/A"),
        (rate(100, 100, sent=9, delivered=8), rate(100, 100, sent=9, delivered=4), "WORSE: it loses more"),
        (rate(100, 100, sent=9, delivered=8), rate(200, 200, sent=9, delivered=4), "WORSE: it loses more"),
        (rate(100, sent=9, delivered=9), rate(100, sent=9, delivered=0), "WORSE: it loses more"),
        (
            rate(100, 100, sent=1000, delivered=1000),
            rate(100, 100, sent=1000, delivered=995),
            "within spread",
        ),
        (rate(100, 100, sent=9, delivered=4), rate(100, 100, sent=9, delivered=8), "within spread"),
    ],
)
def test_a_change_counts_if_it_exceeds_the_spread_of_both_runs(
    before: Measurement, after: Measurement, verdict: str
) -> None:
    assert Change(before, after).verdict == verdict


def test_measurements_are_matched_by_subject_and_parameters() -> None:
    found = compare(
        report(rate(1, 1), rate(2, 2, subject="zmq"), rate(3, 3, subject="nats")),
        report(rate(4, 4, subject="zmq"), rate(5, 5), rate(6, 6, subject="nats", unit="us")),
    )
    assert [(each.before.median, each.after.median) for each in found.changes] == [(2, 4), (1, 5)]
    assert [each.subject for each in found.only_before] == ["nats"]  # another unit is another measurement
    assert [each.unit for each in found.only_after] == ["us"]


def test_differences_besides_nlbus_are_reported() -> None:
    found = compare(
        report(packages={"numpy": "2.0", "pyzmq": "27"}, load=1.5),
        report(kernel="6.12", packages={"numpy": "2.1"}),
    )
    assert found.warnings == [
        "kernel: '6.1' and '6.12'",
        "numpy: 2.0 and 2.1",
        "pyzmq: 27 and not installed",
        "load average 1.5 at the start of the first",
    ]
    assert compare(report(), report()).warnings == []


def test_compare_shows_and_fails_on_request(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", report(rate(100, 100, 100)))
    new = saved(tmp_path / "new.json", report(rate(80, 80, 80), kernel="6.12"))
    result = invoke("compare", old, new)
    assert result.exit_code == 0
    assert "-20.0%" in result.stdout
    assert "WORSE" in result.stdout
    assert "kernel: '6.1' and '6.12'" in result.stdout
    assert invoke("compare", old, new, "--fail-above", "10%").exit_code == 4
    assert invoke("compare", old, new, "--fail-above", "25%").exit_code == 0
    assert invoke("compare", new, old, "--fail-above", "10%").exit_code == 0
    assert invoke("compare", old, new, "--fail-above", "ten").exit_code == 2


def test_more_loss_counts_like_a_slowdown(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", report(rate(100, 100, sent=1000, delivered=1000)))
    new = saved(tmp_path / "new.json", report(rate(100, 100, sent=1000, delivered=500, lost=500)))
    result = invoke("compare", old, new, "--fail-above", "10%")
    assert result.exit_code == 4
    assert "1.0000, 0.5000  WORSE: it loses more" in result.stdout
    assert invoke("compare", old, new, "--fail-above", "60%").exit_code == 0
    assert invoke("compare", new, old, "--fail-above", "10%").exit_code == 0


def test_a_comparison_names_its_runs(tmp_path: Path) -> None:
    old = saved(tmp_path / "old.json", report(rate(1, 1), commit="abc"))
    new = saved(tmp_path / "new.json", report(rate(1, 1), compiler="cc 12"))
    result = invoke("compare", old, new)
    assert "before: nlbus 0.1.0, commit abc, 2026" in result.stdout
    assert "compiler: 'unknown' and 'cc 12'" in result.stdout
    assert "The spread is that within one run." in result.stdout


DAMAGES: list[tuple[str, Any]] = [
    ("samples", []),
    ("samples", ["1", "2"]),
    ("samples", "12"),
    ("samples", [1.0, float("nan")]),
    ("control", [None]),
    ("parameters", []),
    ("parameters", {"size": None}),
    ("details", []),
    ("delivered", "5"),
    ("note", None),
]


@pytest.mark.parametrize("command", ["compare", "report"])
@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        *(("measurement", name, value) for name, value in DAMAGES),
        *(("missing", name, 1) for name in ("section", "why")),
        *(("report", name, value) for name, value in [("machine", []), ("machine", {"load": "high"})]),
        *(
            ("report", name, None)
            for name in ("command", "when", "nlbus", "seconds", "measurements", "caveats")
        ),
        ("report", "machine", {"packages": ["numpy"]}),
        ("report", "measurements", ["a"]),
    ],
)
def test_a_damaged_report_is_a_one_line_error(
    command: str, where: str, name: str, value: object, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    report(rate(1, 2)).save(path)
    document = json.loads(path.read_text())
    within = {
        "report": document,
        "measurement": document["measurements"][0],
        "missing": document["missing"][0],
    }
    within[where][name] = value
    path.write_text(json.dumps(document))
    result = invoke(command, str(path), *([str(path)] if command == "compare" else ["-o", str(tmp_path)]))
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"{path}: damaged" in result.stderr


def test_a_page_that_cannot_be_written_is_a_one_line_error(tmp_path: Path) -> None:
    bare = saved(tmp_path / "bare.json", report(rate(1, 2)))  # a transport's report without its axes
    for arguments in ((bare, "-o", str(tmp_path)), (saved(tmp_path / "x.json", report()), "-o", "/proc/x")):
        result = invoke("report", *arguments)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert arguments[0] in result.stderr or "/proc/x" in result.stderr


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, '{"format": "other", "version": 1}', '{"format": "nlbus-bench"}']
)
def test_an_invalid_report_is_a_one_line_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    result = invoke("compare", str(path), str(path))
    assert result.exit_code == 1
    assert str(path) in result.stderr


# -- reports --------------------------------------------------------------------------------------


def test_a_saved_report_loads_unchanged(tmp_path: Path) -> None:
    before = report(rate(1.5, 2.5, ratios=(1.1,), control=(1.0, 0.9), sent=4, delivered=3, lost=1))
    before.save(tmp_path / "x.json")
    assert Report.load(tmp_path / "x.json") == before
    assert json.loads((tmp_path / "x.json").read_text())["version"] == 1


def test_a_saved_file_is_complete_or_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    path.write_text("before")
    link = tmp_path / "link"
    link.symlink_to(path)
    report().save(link)
    assert link.is_symlink()
    assert Report.load(path) == report()
    reader, writer = os.pipe()
    report().save(Path(f"/dev/fd/{writer}"))
    os.close(writer)
    with os.fdopen(reader) as pipe:
        assert json.load(pipe)["version"] == 1
    monkeypatch.setattr(Path, "replace", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        report(rate(1, 2)).save(path)
    assert Report.load(path) == report()
    assert {each.name for each in tmp_path.iterdir()} == {"x.json", "link"}
    with pytest.raises(ResultsError, match=r"nodir/x\.json: cannot be written: No such file"):
        report().save(tmp_path / "nodir/x.json")


def test_notes_are_printed_once_unless_they_differ(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(
        report(*(rate(1, 2, note=note) for note in ("It coos.", "It coos. Often.", "Lost.", "Lost.")))
    )
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("- nlbus: ")]
    assert shown == ["- nlbus: It coos.", "- nlbus: Lost."]


def test_one_sample_has_no_quartiles_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    show_report(report(rate(7, unit="% nlbus", control=())))
    assert "nlbus       7  % nlbus" in capsys.readouterr().out


def test_quartiles_lie_within_the_samples() -> None:
    assert rate(3.0).quartiles == (3, 3)
    assert rate(1.0, 5.0).quartiles == (2, 4)
    assert rate(1.0, 2.0, 3.0, 4.0, 5.0).quartiles == (2, 4)


def test_tables_name_subjects_and_omit_empty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    found = report(
        rate(999_999, 999_999, 999_999, sent=4, delivered=3, note="It coos."),
        rate(*[2_500_000] * 3, subject="zmq", ratios=(2.5,) * 3, control=(1.0, 1.0, 0.9), reference="nlbus"),
    )
    show_report(found)
    shown = capsys.readouterr().out
    head, first, second = next(
        lines for lines in zip(*(shown.splitlines()[i:] for i in range(3)), strict=False) if "who" in lines[0]
    )
    assert head.split() == [
        "work",
        "who",
        "median",
        "quartiles",
        "unit",
        "rounds",
        "delivered",
        "/",
        "sent",
        "ratio",
        "A/A",
    ]
    assert " ".join(first.split()[3:]) == "nlbus 1 M 1 M to 1 M events/s 3 0.7500 - 0%"
    assert " ".join(second.split()) == "zmq 2.5 M 2.5 M to 2.5 M events/s 3 - 2.5 0%"
    assert shown.index("Pigeons tire.") < shown.index("who")  # caveats first
    assert "nlbus: It coos." in shown
    assert "transports: pigeons: pip install pigeons" in shown
