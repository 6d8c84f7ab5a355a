"""Coverage of the modules by GCOV, from the counters that a guest leaves in /run/lab/gcov."""

import json
import shutil
from pathlib import Path

from tests.lab import apt


def report(results: Path, built: Path) -> str:
    """One line per file, with the lines that no test ran."""
    said, ran, all_lines = [], 0, 0
    gcov = results / "gcov"
    for counters in sorted(gcov.glob("*/*.gcda")):
        # The kernel's link to the notes may point anywhere.
        notes = counters.with_suffix(".gcno")
        notes.unlink(missing_ok=True)
        if notes.parent.name == "probe" or not (built / notes.relative_to(gcov)).exists():
            continue
        shutil.copy(built / notes.relative_to(gcov), notes)
        data = json.loads(apt.run("gcov", "--json-format", "--stdout", counters.name, cwd=counters.parent))
        for file in data["files"]:
            source = Path(file["file"])
            if source.parent != built / counters.parent.name or source.suffix != ".c":
                continue
            counts: dict[int, int] = {}
            for line in file["lines"]:
                counts[line["line_number"]] = counts.get(line["line_number"], 0) + line["count"]
            missed = [number for number, count in counts.items() if not count]
            ran += len(counts) - len(missed)
            all_lines += len(counts)
            share = percent(len(counts) - len(missed), len(counts))
            said.append(f"  {source.relative_to(built)}: {share}, not {spans(missed)}")
    return "\n".join([f"lines of the modules that ran: {percent(ran, all_lines)}", *said])


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} % of {whole}" if whole else "none"


def spans(numbers: list[int]) -> str:
    """1-3 7 for 1, 2, 3, 7."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(f"{a}-{b}" if a < b else f"{a}" for a, b in found) or "nothing"
