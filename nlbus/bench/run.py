"""A run: the sections one after the other."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from contextlib import closing

from nlbus.bench.plans import Progress, Scale, Section
from nlbus.bench.results import Measurement, Missing, Report
from nlbus.errors import NlbusError


def run(report: Report, planned: Iterable[tuple[Section, Scale]], progress: Progress) -> list[str]:
    """Put what they find into the report as they find it, so that it holds when we are interrupted.

    A section that fails is named as missing, with the reason; the others are measured nevertheless. Returned
    are those whose failure nobody has foreseen.
    """
    broken = []
    for section, plan in planned:
        progress(section.name)
        try:
            report.caveats += section.caveats
            with closing(section.measure(plan, progress)) as found:
                for one in found:
                    if isinstance(one, Measurement):
                        report.measurements.append(one)
                    else:
                        report.missing.append(one)
        except Exception as error:
            foreseen = isinstance(error, (NlbusError, OSError, subprocess.SubprocessError))
            why = str(error) if foreseen else f"{type(error).__name__}: {error}"
            report.missing.append(Missing(section.name, f"all further {section.name}", why))
            if not foreseen:
                broken.append(section.name)
    return broken
