"""`nlbus test`: what rules would run, for the events of a capture."""

import json
import shlex
import sys

import click

from nlbus import open_capture
from nlbus.cli.render.records import escaped, iso
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.stdout import discard_stdout, write_all
from nlbus.listener.dispatch import Job
from nlbus.listener.environment import variables
from nlbus.listener.function import Loop
from nlbus.listener.plan import planned
from nlbus.listener.rule import named
from nlbus.listener.rules import load_rules

STDIN = "-"
PLAIN = ("NLBUS_RULE", "NLBUS_TIME_NS")  # told at the beginning of a line


@click.command()
@click.argument("rules")
@click.argument("file")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text",
    help="A line for people, or a JSON object a line.",
)  # fmt: skip
def test(rules: str, file: str, output: str) -> None:
    """Show what the RULES of `nlbus run` would run for the events in FILE, a capture; - is stdin.

    A line for each time: when, which rule, the program or function, and what of the event it would find in
    its environment. JSON is one object a line: "time_ns", "rule", "run", "environment". A debounced event
    comes when it was quiet in the capture for long enough. Nothing is run, and programs need not be there.
    Which rules had how many events comes on stderr.

    \b
    nlbus record uevent plug.pcapng --seconds 60
    nlbus test rules.toml plug.pcapng
    nlbus test rules.toml plug.pcapng -o json | jq -r .environment.DEVPATH
    """
    loaded = load_rules(rules, Loop(), ready=False).rules
    names = {rule: name for name, rule in named(loaded).items()}
    shown = dict.fromkeys(names.values(), 0)
    where = sys.stdin.buffer if file == STDIN else file
    with Shutdown() as shutdown, open_capture(where, on_loss="ignore") as capture:
        found = planned(loaded, capture)
        try:
            while (job := shutdown.interruptible(lambda: next(found, None))) is not None:
                shown[names[job.rule]] += 1
                write_all(_line(job, names[job.rule], output) + "\n")
        except BrokenPipeError:
            discard_stdout()
    for name, count in shown.items():
        click.echo(f"nlbus: {name}: {count} times", err=True)


def _line(job: Job, name: str, output: str) -> str:
    environment = variables(job.rule, job.event, {})
    if output == "json":
        record = {"time_ns": job.event["nl_time"], "rule": name, "run": str(job.rule.handler)}
        return json.dumps(record | {"environment": environment})
    told = (f"{key}={shlex.quote(escaped(value))}" for key, value in environment.items() if key not in PLAIN)
    when = click.style(iso(job.event["nl_time"]), dim=True)
    return f"{when} {click.style(name, bold=True)}: {job.rule.handler} ({' '.join(told)})"
