"""The benchmark suite of `nlbus bench`: nlbus beside others, on the machine that it runs on.

A *section* (transports, libraries, growth, latency, profile) measures and yields `Measurement`s; a `Report`
keeps them, with what the machine is, and goes to JSON and back; tables, comparisons and pictures are made
of it.
"""

from nlbus.bench.results import Measurement, Missing, Report

__all__ = ["Measurement", "Missing", "Report"]
