"""`nlbus test`: show what rules would run for the events of a capture."""

from typing import Any

import click

from nlbus.cli.shared.action import act


@click.command()
@click.argument("rules")
@click.argument("file")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "json"]),
    default="text",
    help="One line per event for people, or one JSON object per line.",
)
@click.option("--local", is_flag=True, help="Show times in text in the local time zone, not in UTC.")
def test(**options: Any) -> None:
    """Show what RULES, a file for `nlbus run`, would run for the events in the capture FILE; - is stdin.

    Each run is one line: when, which rule, the program or function, and the variables of its environment.
    JSON is one object per line: "time_ns", "rule", "run", "environment". A debounced event appears once the
    capture was quiet for long enough. Nothing is run, and programs need not exist. The number of events per
    rule is reported on stderr.

    \b
    nlbus record uevent plug.pcapng --seconds 60
    nlbus test rules.toml plug.pcapng
    nlbus test rules.toml plug.pcapng -o json | jq -r .environment.DEVPATH
    """
    act("test", options)
