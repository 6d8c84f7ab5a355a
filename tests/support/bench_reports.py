"""A made-up report with something in every section."""

# ruff: noqa: E501 - tables of figures

from typing import Any

import numpy as np
from click.testing import CliRunner, Result

from nlbus.bench import Measurement, Missing, Report
from nlbus.cli.main import commands

NASTY = '<script>alert("x")</script> & | `code` [a](b)'
TRANSPORTS = (
    "nlbus",
    "netlink, plain",
    "unix datagram",
    "pyzmq ipc",
    "NATS core",
    "Zenoh shared memory",
    "iceoryx2",
)


def transports() -> list[Measurement]:
    found = []
    rng = np.random.default_rng(1)
    for size in (64, 1024):
        for batch in (1, 65536 // size):
            for subscribers in (1, 4):
                for offered in (0, 20_000) if size == 64 else (0,):
                    for i, name in enumerate(TRANSPORTS):
                        rate = float(offered or 2e6 / (1 + i) * (20 if batch > 1 else 1))
                        lost = int(100_000 * 0.3 * (i in (1, 4)))
                        found.append(
                            Measurement(
                                "transports", name, f"{size} B, batch {batch}, {subscribers}, {offered}", "events/s",
                                tuple(rate * rng.uniform(0.9, 1.1, 5)),
                                {"subscribers": subscribers, "size": size, "batch": batch, "offered": offered},
                                100_000, 100_000 - lost, lost,
                                control=(1.0, 1.02, 0.97), details=turn(rate, offered),
                                note="as its documentation advises",
                            )
                        )  # fmt: skip
    return found


def turn(rate: float, offered: int) -> dict[str, object]:
    return {
        "publisher_cpu_ns": 2126.0, "subscriber_cpu_ns": 1345.0, "server_cpu_ns": 0.0,
        "published_a_second": round(rate), "turn_events": round(0.05 * rate), "turn_seconds": 0.05,
    } | ({"delay_us": {"p50": 198.1, "p99": 612.7}} if offered else {})  # fmt: skip


def libraries() -> list[Measurement]:
    rates = {"nlbus": 9.5e6, "pyroute2": 20.5e3, "libmnl": 5.8e6, "libnl": 1.7e6, "ip -j": 1e5}
    found = [
        Measurement("libraries", name, work, "messages/s", (rate * 0.9, rate, rate * 1.1), sent=600, delivered=600,
                    ratios=() if name == "nlbus" else (rate / 9.5e6,), control=(1.0, 1.05),
                    reference="" if name == "nlbus" else "nlbus")
        for work in ("NEWROUTE messages from memory", "a dump of 10,000 routes")
        for name, rate in rates.items()
        if name != "ip -j" or "dump" in work
    ]  # fmt: skip
    return found + [
        Measurement("libraries", name, "a storm of 50,000 changes of routes", "CPU ns/event", (cpu,), sent=50_000,
                    delivered=50_000 - lost, lost=lost)
        for name, cpu, lost in (("nlbus", 1500.0, 0), ("pyroute2", 83_000.0, 31_000), ("libmnl", 2000.0, 7000))
    ]  # fmt: skip


def growth() -> list[Measurement]:
    found = []
    for axis, base, slope in (
        ("messages", 900.0, 9.0),
        ("bystanders", 1500.0, 9.5),
        ("routes", 2000.0, 520.0),
    ):
        points = [
            [x, base + slope * x, 0.9 * (base + slope * x), 1.1 * (base + slope * x)] for x in (0, 1, 10, 100)
        ]
        line = {"base": base, "slope": slope, "off": 0.02}
        bend = {"x": 10.0, "beyond": 100.0, "before": line, "after": line}
        fit = {"line": line, "exponent": 0.9, "bend": bend}
        found.append(
            Measurement("growth", "nlbus", f"{axis}: the slope", f"ns/{axis}", (slope,), {"axis": axis},
                        details={"fit": fit, "points": points, "unit": "ns/datagram"}, note="a line")
        )  # fmt: skip
    return found


def latency() -> list[Measurement]:
    edges = np.geomspace(1, 10_000, 41)
    found = []
    for load in ("idle", "loaded"):
        for name, middle in (("C pair", 30), ("nlbus recv", 36), ("nlbus asyncio", 90)):
            times = np.random.default_rng(2).lognormal(np.log(middle * (1 + (load == "loaded"))), 0.4, 5000)
            counts, _ = np.histogram(times, edges)
            cuts = np.percentile(times, (50, 99, 99.9))
            found.append(
                Measurement("latency", name, f"one way, {load}", "us", tuple(times[:5]), {"load": load, "reader": name},
                            sent=5000, delivered=5000,
                            details={"p50": cuts[0], "p99": cuts[1], "p99.9": cuts[2],
                                     "histogram": {"edges": edges.tolist(), "counts": counts.tolist(), "unit": "us"}})
            )  # fmt: skip
    for linger in (0.0, 0.001, 0.01):
        for rate in (0, 20_000):
            found.append(
                Measurement("latency", "nlbus recv", f"linger {linger}, {rate}", "us", (50.0,),
                            {"linger": linger, "offered": rate}, 100, 100,
                            details={"p50": 50 + 1e6 * linger, "p99": 90 + 1e6 * linger, "p99.9": 100.0,
                                     "histogram": {"edges": edges.tolist(), "counts": counts.tolist(), "unit": "us"},
                                     "events_per_datagram": 1 + 20_000 * linger})
            )  # fmt: skip
    return found


def profile() -> list[Measurement]:
    stages = (("kernel", 500.0), ("copy", 180.0), ("walk", 40.0), ("columns", 120.0), ("Python", 12.0))
    return [
        Measurement(
            "profile", stage, work, "ns/event", (took,), {"work": work, "stage": stage, "order": i}, 10, 10
        )
        for work in ("records of the bus", "routes to a table")
        for i, (stage, took) in enumerate(stages)
    ]


def report() -> Report:
    machine = {
        "cpu": f"Xeon {NASTY}",
        "cores": 2,
        "kernel": "6.18",
        "packages": {"numpy": "2.3", "pyzmq": ""},
    }
    return Report(
        "nlbus bench full",
        machine,
        "2026-01-02T03:04:05+00:00",
        "0.1.0",
        812.3,
        [*transports(), *libraries(), *growth(), *latency(), *profile()],
        [Missing("transports", "a plug-in", f"not installed: {NASTY}")],
        ["A virtual machine: waking a sleeping core is dear."],
    )


# -- builders for single measurements ------------------------------------------------------------------


def rate(*samples: float, subject: str = "nlbus", unit: str = "events/s", **more: Any) -> Measurement:
    more = {"control": (1.0, 1.0)} | more
    return Measurement("transports", subject, "64 B, single", unit, samples, **more)


def invoke(*args: str) -> Result:
    return CliRunner().invoke(commands, ["bench", *args])
