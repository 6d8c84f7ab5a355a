"""`nlbus sources`: what can be heard here, and why not."""

import json
import shutil
import textwrap

import click

import nlbus
from nlbus.sources import Source

NAME, KERNEL = 20, 28


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text",
    help="A table, or a JSON object a line.",
)  # fmt: skip
def sources(output: str) -> None:
    """Show what can be heard here, by this user, and why not.

    Tries a real membership on each netlink protocol and ends it at once. Groups marked * are those that
    `nlbus listen SOURCE` joins by itself; where no group has a name, numbers do.

    \b
    nlbus sources
    nlbus sources -o json | jq -r 'select(.available) | .name'
    unshare -Urn nlbus sources        in a namespace of your own
    """
    found = nlbus.sources()
    if output == "json":
        for source in found:
            click.echo(json.dumps(_record(source)))
        return
    click.secho(f"{'SOURCE':{NAME}}{'PROTOCOL':{KERNEL}}{'HERE':6}GROUPS, OR WHY NOT", bold=True)
    for source in found:
        _show(source)


def _show(source: Source) -> None:
    here = click.style("yes   ", fg="green") if source.available else click.style("no    ", fg="red")
    kernel = f"{source.kernel_name} ({source.protocol})"
    indent = NAME + KERNEL + 6
    width = max(shutil.get_terminal_size().columns - indent, 40)
    lines = [] if source.available else textwrap.wrap(source.reason, width)
    lines += textwrap.wrap(_groups(source), width, break_long_words=False)
    click.echo(f"{source.name:{NAME}}{kernel:{KERNEL}}{here}{lines[0]}")
    for line in lines[1:]:
        click.echo(" " * indent + line)


def _groups(source: Source) -> str:
    if not source.groups:
        return "groups 1 to 32" if source.framing == "bus" else "groups by number"
    names = (f"{'*' * (number in source.default)}{name}={number}" for name, number in source.groups.items())
    return " ".join(names)


def _record(source: Source) -> dict[str, object]:
    return {
        "name": source.name,
        "protocol": source.protocol,
        "kernel_name": source.kernel_name,
        "available": source.available,
        "reason": source.reason,
        "needs": source.needs,
        "groups": dict(source.groups),
        "default": list(source.default),
        "tables": list(source.tables),
    }
