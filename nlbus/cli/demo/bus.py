"""The demo's second part: a publisher at full rate and three subscribers; checks sent = delivered + lost."""

import json
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import click

from nlbus import Groups, NlbusError
from nlbus.cli.demo.environment import child_environment
from nlbus.cli.demo.roles import EVENT

SECONDS = 3.0
STREAMS = (Groups(1), Groups(1, 2), Groups(2, 3), Groups(3))
SUBSCRIBERS = {"A": Groups(1, 2), "B": Groups(2, 3), "C": Groups(3)}
# C has room for ten full datagrams only, so that it loses some.
BUFFER_EVENTS = {"A": None, "B": None, "C": 400}


class Child:
    """A process of nlbus.cli.demo.roles; leaving the context kills it."""

    def __init__(self, role: str, **arguments: Any) -> None:
        self._role = role
        command = [sys.executable, "-m", "nlbus.cli.demo.roles", role, json.dumps(arguments)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=child_environment()
        )

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, word: str) -> None:
        """Send it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """Wait for its answer. NlbusError if it died."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise NlbusError(f"the demo's {self._role} ended early, with {self._process.wait()}")
        return json.loads(line)


def show() -> None:
    """Run this part and print the table."""
    with ExitStack() as stack:
        pub = stack.enter_context(
            Child("publisher", masks=[groups.mask for groups in STREAMS], seconds=SECONDS)
        )
        subs = {
            name: stack.enter_context(
                Child("subscriber", groups=list(groups), buffer_events=BUFFER_EVENTS[name])
            )
            for name, groups in SUBSCRIBERS.items()
        }
        for child in (pub, *subs.values()):
            child.hear()
        pub.send("start")
        seconds = pub.hear()
        for sub in subs.values():
            sub.send("drain")
        for sub in subs.values():
            sub.hear()
        pub.send("finish")
        sent = pub.hear()
        for sub in subs.values():
            sub.send("report")
        _table(sent, seconds, {name: sub.hear() for name, sub in subs.items()})


def _table(sent: dict[str, Any], seconds: float, reports: dict[str, dict[str, Any]]) -> None:
    click.echo(
        f"{EVENT.itemsize}-byte events for {seconds:.1f} s, published as fast as it goes; a full subscriber "
        "loses, and counts. C has a small buffer, to show it."
    )
    click.secho(
        f"  {'stream':8}{'sent':>13}{'a second':>11}  {'subscriber':12}{'delivered':>13}{'lost':>13}"
        f"{'a second':>11}  sent = delivered + lost",
        bold=True,
    )
    even = True
    for stream in sent["streams"]:
        groups = Groups.from_mask(stream["groups"])
        left = f"  {_names(groups):8}{stream['events']:13,}{_rate(stream['events'], seconds):>11}  "
        for name, members in SUBSCRIBERS.items():
            if not groups & members:
                continue
            report = reports[name]
            delivered, lost = _of_stream(report, stream["instance"])
            verdict, good = _verdict(stream["events"] - delivered - lost, report["stats"]["open"])
            even &= good
            rate = _rate(delivered, report["seconds"])
            who = f"{name} ({_names(members)})"
            click.echo(f"{left}{who:12}{delivered:13,}{lost:13,}{rate:>11}  {verdict}")
            left = " " * len(left)
    _sums(sent, seconds, reports)
    even &= all(r["events"] == r["stats"]["delivered"] and not r["disorder"] for r in reports.values())
    if not even:
        raise NlbusError("events are unaccounted for: this must not happen, please report it")


def _sums(sent: dict[str, Any], seconds: float, reports: dict[str, dict[str, Any]]) -> None:
    total = sum(stream["events"] for stream in sent["streams"])
    click.echo(f"Publisher: {total:,} events, {_rate(total, seconds)} a second.")
    for name, report in reports.items():
        stats = report["stats"]
        got, lost = stats["delivered"], stats["lost"]
        order = "none twice or out of order" if not report["disorder"] else f"{report['disorder']} DISORDERED"
        click.echo(
            f"Subscriber {name}: {got:,} delivered, {_rate(got, report['seconds'])} a second; {lost:,} lost "
            f"({lost / max(got + lost, 1):.1%}), {stats['open']} datagrams open; buffer "
            f"{stats['buffer_size'] / 1e6:.1f} MB. Counted in Python: {report['events']:,}, {order}."
        )


def _of_stream(report: dict[str, Any], instance: int) -> tuple[int, int]:
    for stream in report["stats"]["streams"]:
        if stream["instance"] == instance:
            return stream["delivered"], stream["lost"]
    return 0, 0


def _verdict(missing: int, still_open: int) -> tuple[str, bool]:
    if missing == 0:
        return click.style("yes", fg="green"), True
    if missing > 0 and still_open:
        return click.style(f"yes, and {missing:,} in open datagrams", fg="yellow"), True
    return click.style(f"NO: {missing:,} unaccounted for", fg="red", bold=True), False


def _names(groups: Groups) -> str:
    return ",".join(map(str, groups))


def _rate(count: int, seconds: float) -> str:
    return f"{count / seconds / 1e6:.2f} M" if seconds else "-"
