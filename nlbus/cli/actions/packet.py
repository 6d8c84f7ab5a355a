"""`nlbus packet`: the rules by which the kernel module nlbus_packet drops or samples packets."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from nlbus.cli.shared.options import flat
from nlbus.cli.shared.stdout import discard_stdout, write_all
from nlbus.packet import Action, Rule
from nlbus.packet import add as add_rule
from nlbus.packet import delete as delete_rule
from nlbus.packet import flush as flush_rules
from nlbus.packet import rules as all_rules

COUNTERS = ("handle", "packets", "bytes", "events")


def add(
    *, action: Action, hooks: tuple[list[str], ...], before: int | None, netns: str | int | None, **match: Any
) -> None:
    """Add a rule: accept, drop or sample the packets that match all options."""
    rule = add_rule(Rule(action=action, hooks=tuple(flat(hooks)), **match), before=before, netns=netns)
    _print([str(rule.handle)])


def list_rules(*, output: str, netns: str | int | None) -> None:
    """List the rules in order: handle, matching packets, their bytes, packets reported."""
    found = all_rules(netns=netns)
    _print((json.dumps(asdict(rule)) for rule in found) if output == "json" else _table(found))


def delete(*, handles: tuple[int, ...], netns: str | int | None) -> None:
    """Delete the rules of these handles, which `nlbus packet rules list` shows."""
    for handle in handles:
        delete_rule(handle, netns=netns)


def flush(*, netns: str | int | None) -> None:
    """Delete all rules: then no packet is dropped, and each is reported."""
    flush_rules(netns=netns)


def _print(lines: Iterator[str] | list[str]) -> None:
    try:
        write_all("".join(f"{line}\n" for line in lines))
    except BrokenPipeError:
        discard_stdout()


def _table(found: list[Rule]) -> Iterator[str]:
    yield click.style(f"{'HANDLE':>6}  {'PACKETS':>10}  {'BYTES':>12}  {'EVENTS':>10}  RULE", bold=True)
    for rule in found:
        yield f"{rule.handle:>6}  {rule.packets:>10}  {rule.bytes:>12}  {rule.events:>10}  {as_words(rule)}"


def as_words(rule: Rule) -> str:
    """The rule as arguments of `nlbus packet rules add`."""
    words: list[str] = [rule.action]
    for name, value in asdict(rule).items():
        if name == "action" or name in COUNTERS or value is None or value == ():
            continue
        if name == "hooks":
            words += ["--hook", ",".join(value)]
        elif name in ("sport", "dport"):
            words += [f"--{name}", "-".join(map(str, value if value[0] != value[1] else value[:1]))]
        else:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return " ".join(words)
