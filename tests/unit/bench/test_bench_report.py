"""The page, the pictures and the document built from a benchmark report."""

import re
import struct
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import nlbus.bench.report.page
from nlbus import MissingExtra
from nlbus.bench import Measurement, Report
from nlbus.bench.report.draw_bars import achieved, transports
from nlbus.bench.report.drawing import colours, svg
from nlbus.bench.report.page import fill, page, pictures, write
from nlbus.bench.report.tables import HEADS, TURN_HEADS, number, row, section, share
from nlbus.bench.results import ResultsError
from nlbus.cli.main import commands
from tests.support import bench_reports

ROOT = Path(__file__).parents[3]
NAMES = {
    "transports-64-single", "transports-64-batched", "transports-1024-single", "transports-1024-batched",
    "libraries-reading", "libraries-storms", "growth", "latency", "latency-linger", "profile",
}  # fmt: skip


class Reader(HTMLParser):
    """Records tags and attributes; fails if a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write(bench_reports.report(), folder)
    return folder


def test_each_section_has_a_picture_on_the_page(whole: Path) -> None:
    assert {path.stem for path in whole.glob("*.png")} == NAMES
    for path in whole.glob("*.png"):
        data = path.read_bytes()
        width, height = struct.unpack(">II", data[16:24])
        assert data.startswith(b"\x89PNG")
        assert width > 1000
        assert height > 200
    assert (whole / "index.html").read_text().count("<svg") == len(NAMES)


def test_the_page_is_self_contained_and_escapes_text(whole: Path) -> None:
    text = (whole / "index.html").read_text()
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(reader.tags)
    for name, value in reader.attributes:
        assert not name.startswith("on")
        if name in ("src", "href", "xlink:href"):
            assert (value or "").startswith("#"), (name, value)
    assert not re.search(r"url\((?!#)|@import", text)
    assert "&lt;script&gt;alert" in text
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    # Drawings use the page's text colour.
    assert "currentColor" in text
    assert "#2b2b2a" not in text


def test_caveats_come_before_any_figure(whole: Path) -> None:
    text = (whole / "index.html").read_text()
    assert text.index("Before you read a figure") < text.index("<svg")
    assert text.index("A virtual machine") < text.index("<svg")
    assert text.index("Not measured") < text.index("<svg")


def test_an_empty_report_is_a_page_too(tmp_path: Path) -> None:
    empty = Report("nlbus bench quick", {}, "2026-01-01T00:00:00+00:00", "0.1.0")
    assert [path.name for path in write(empty, tmp_path)] == ["index.html"]


def test_a_subject_without_figures_is_drawn_as_not_measured() -> None:
    report = bench_reports.report()
    report.measurements = [
        one
        for one in report.measurements
        if not (one.subject == "iceoryx2" and one.parameters["subscribers"] == 4)
    ]
    assert "not measured" in page(report, [one for one in pictures(report) if one.section == "transports"])


def measurement(**fields: Any) -> Measurement:
    return Measurement("s", "who", "work", "events/s", (1.0, 2.0, 3.0), **fields)


def test_with_a_single_lost_event_it_is_never_a_hundred_per_cent() -> None:
    assert share(measurement(sent=10_000_000, delivered=9_999_999, lost=1)) == "< 100 %, 1 lost"
    assert share(measurement(sent=10, delivered=10)) == "100 %"
    assert share(measurement(sent=10, delivered=5, lost=5)) == "50.00 %, 5 lost"
    assert share(measurement()) == "-"


def test_a_row_names_its_comparison() -> None:
    cells = row(measurement(ratios=(0.5, 0.002, 0.001), control=(1.0, 1.1), reference="nlbus"))
    assert "0.002 x nlbus" in cells
    assert "10 %, median 1.05" in cells
    assert [number(value) for value in (1234.5, 9.5e6, 0.00123, 7)] == ["1.23 k", "9.5 M", "0.00123", "7"]


def test_a_ratio_has_no_more_digits_than_its_control_allows() -> None:
    def cell(ratio: float, *control: float) -> str:
        return row(measurement(ratios=(ratio,), control=control, reference="nlbus"))[7]

    assert cell(1.276, 1.0, 1.1) == "1.28 x nlbus"
    assert cell(1.276, 1.0, 1.4, 1.4) == "~ 1 x nlbus"
    assert cell(11.54, 1.0, 1.4, 1.4) == "~ 10 x nlbus"
    assert cell(0.462, 1.0, 1.4, 1.4) == "~ 0.5 x nlbus"


def test_rounds_are_printed_and_few_have_no_quartiles() -> None:
    few, enough = (
        Measurement("s", "who", "work", "us", samples) for samples in ((1.0, 2.0), (1.0, 2.0, 3.0))
    )
    assert row(few)[3:6] == ("-", "us", "2")
    assert row(enough)[3:6] == ("1.5 to 2.5", "us", "3")


def test_only_tables_of_transports_have_turns_and_their_cost() -> None:
    report = bench_reports.report()
    (grid,) = section(report, "transports")
    assert grid.heads[-5:] == (*TURN_HEADS, "note")
    assert {len(cells) for cells in grid.rows} == {len(grid.heads)}
    assert grid.words == {0, 1, 4, len(grid.heads) - 1}
    flat, fixed = (
        next(cells for cells in grid.rows if cells[0] == f"64 B, batch 1, 1, {rate}") for rate in (0, 20_000)
    )
    assert flat[-5:-1] == ("100 k in 50 ms", "2 M", "2.13 k + 1.34 k", "-")
    assert fixed[-5:-1] == ("1 k in 50 ms", "20 k", "2.13 k + 1.34 k", "198, 613")
    for name in ("libraries", "growth", "latency", "profile"):
        assert next(section(report, name)).heads == HEADS


def test_at_a_fixed_rate_the_achieved_share_counts() -> None:
    slow = measurement(parameters={"offered": 4}, sent=10, delivered=10)
    assert achieved(slow) == 50
    found = [one for one in bench_reports.transports() if one.parameters["size"] == 64]
    text = svg(next(iter(transports(found))))
    assert "at fixed rates" in text
    assert "20 k" in text
    assert "4 sub." in text


def test_nlbus_always_has_the_first_colour() -> None:
    assert colours(["C", "nlbus"])["nlbus"] == colours(["nlbus", "a", "z"])["nlbus"]
    assert len(set(colours(["nlbus", "a", "b", "c"]).values())) == 4


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the drawing, which is slow and tested elsewhere."""
    monkeypatch.setattr(nlbus.bench.report.page, "png", lambda picture: picture.name.encode())


def test_a_document_can_be_filled_between_its_marks_repeatedly(undrawn: None, tmp_path: Path) -> None:
    document = tmp_path / "speed.md"
    document.write_text(
        "# Mine\n\n<!-- bench: caveats -->\nold\n<!-- end -->\n\nkept\n\n"
        "<!-- bench: pictures growth -->\n<!-- end -->\n"
        "<!-- bench: table libraries -->\n<!-- end -->\n<!-- bench: missing -->\n<!-- end -->\n"
    )
    written = fill(document, bench_reports.report())
    text = document.read_text()
    assert {path.stem for path in written[1:]} == NAMES
    assert "old" not in text
    assert text.startswith("# Mine\n")
    assert "\nkept\n" in text
    assert "(speed/growth.png)" in text
    assert "\\<script\\>" in text
    assert text.count("<!-- end -->") == 4
    table = [line for line in text.splitlines() if line.startswith("| NEWROUTE")]
    assert len(table) == 4
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {11}
    fill(document, bench_reports.report())
    assert document.read_text() == text


@pytest.mark.parametrize(
    "mark", ["", "<!-- bench: table -->\n<!-- end -->", "<!-- bench: x -->\n<!-- end -->"]
)
def test_a_document_without_a_known_mark_is_unchanged(tmp_path: Path, mark: str) -> None:
    document = tmp_path / "a.md"
    document.write_text(text := f"# Mine\n{mark}\n")
    with pytest.raises(ResultsError, match="mark"):
        fill(document, bench_reports.report())
    assert document.read_text() == text


def test_the_document_of_this_repository_can_be_filled(undrawn: None, tmp_path: Path) -> None:
    document = tmp_path / "benchmarks.md"
    document.write_text((ROOT / "docs/benchmarks.md").read_text())
    fill(document, bench_reports.report())
    text = document.read_text()
    assert "No run has been put in here yet" not in text
    for name in ("transports", "libraries", "growth", "latency", "profile"):
        assert f"(benchmarks/{name}" in text
    assert text.index("## Caveats first") < text.index(".png")


def test_the_command_writes_the_files_that_it_names(tmp_path: Path) -> None:
    report = bench_reports.report()
    report.measurements = [one for one in report.measurements if one.section == "profile"]
    report.save(tmp_path / "now.json")
    done = CliRunner().invoke(
        commands, ["bench", "report", str(tmp_path / "now.json"), "-o", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert done.output.split() == [str(tmp_path / "out" / name) for name in ("index.html", "profile.png")]
    nowhere = CliRunner().invoke(commands, ["bench", "report", str(tmp_path / "now.json")])
    assert nowhere.exit_code == 2
    assert "-o DIR" in nowhere.output


def test_without_matplotlib_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # type: ignore[arg-type]
    with pytest.raises(MissingExtra, match="pip install matplotlib"):
        write(bench_reports.report(), tmp_path / "out")
    assert not (tmp_path / "out").exists()
