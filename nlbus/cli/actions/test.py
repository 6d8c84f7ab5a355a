"""`nlbus test`: show what rules would run for the events of a capture."""

import json
import shlex
import sys

import click

from nlbus import open_capture
from nlbus._text import escape, escape_value
from nlbus.cli.render.times import Clock, iso
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.stdout import discard_stdout, write_all
from nlbus.listener.dispatch import Job
from nlbus.listener.environment import variables
from nlbus.listener.function import Loop
from nlbus.listener.plan import planned
from nlbus.listener.rule import named
from nlbus.listener.rules import load_rules

STDIN = "-"
AT_LINE_START = ("NLBUS_RULE", "NLBUS_TIME_NS")  # shown there, not as variables


def test(rules: str, file: str, output: str, local: bool) -> None:
    """Show what RULES, a file for `nlbus run`, would run for the events in the capture FILE; - is stdin."""
    Clock.local = local
    loaded = load_rules(rules, Loop(), ready=False).rules
    names = {rule: name for name, rule in named(loaded).items()}
    shown = dict.fromkeys(names.values(), 0)
    where = sys.stdin.buffer if file == STDIN else file
    with Shutdown() as shutdown:
        capture = shutdown.interruptible(lambda: open_capture(where, on_loss="ignore"))
        if capture is None:
            return
        with capture:
            found = planned(loaded, capture)
            try:
                while (job := shutdown.interruptible(lambda: next(found, None))) is not None:
                    shown[names[job.rule]] += 1
                    write_all(_line(job, names[job.rule], output) + "\n")
            except BrokenPipeError:
                discard_stdout()
    for name, count in shown.items():
        report(f"{name}: {count} times")


def _line(job: Job, name: str, output: str) -> str:
    environment = variables(job.rule, job.event, {})
    if output == "json":
        record = {"time_ns": job.event["nl_time"], "rule": name, "run": str(job.rule.handler)}
        return json.dumps(record | {"environment": environment})
    words = (
        f"{escape_value(key)}={shlex.quote(escape_value(value))}"
        for key, value in environment.items()
        if key not in AT_LINE_START
    )
    when = click.style(iso(job.event["nl_time"]), dim=True)
    handler = escape(str(job.rule.handler))
    return f"{when} {click.style(escape(name), bold=True)}: {handler} ({' '.join(words)})"
