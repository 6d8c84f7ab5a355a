"""`nlbus sources`: what can be heard here, and why not."""

import json
import shutil
import textwrap

import click

import nlbus
from nlbus.sources import Source

NAME, KERNEL, HERE = 21, 28, 6


@click.command()
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text",
    help="A table, or a JSON object a line.",
)  # fmt: skip
def sources(output: str) -> None:
    """Show what can be heard here, by this user, and why not.

    Tries a real membership of each source and ends it at once; it changes nothing. Groups marked * are those
    that `nlbus listen SOURCE` joins by itself; where no group has a name, numbers do. genl: stands before a
    generic netlink family, raw: before a protocol whose messages come as they are.

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
    click.secho(f"{'SOURCE':{NAME}}{'PROTOCOL':{KERNEL}}{'HERE':{HERE}}GROUPS, OR WHY NOT", bold=True)
    for source in found:
        _show(source)


def _show(source: Source) -> None:
    kernel = f"{source.kernel_name} ({source.protocol})"
    here = click.style("yes", fg="green") if source.available else click.style("no ", fg="red")
    first, *more = _said(source)
    first = first[len(f"{'':{NAME}}{'':{KERNEL}}") + HERE :]
    click.echo("\n".join([f"{source.name:{NAME}}{kernel:{KERNEL}}{here}{'':{HERE - 3}}{first}", *more]))


def _said(source: Source) -> list[str]:
    """Why not, groups, options and what else there is to know: lines, the first one far to the right."""
    said = [] if source.available else [source.reason]
    said.append(_groups(source))
    said += [
        f"--option {name}={option.default:g}  {option.meaning}" for name, option in source.options.items()
    ]
    width = max(shutil.get_terminal_size().columns, 80)
    lines: list[str] = []
    for words in said:
        begin = NAME if lines else NAME + KERNEL + HERE
        lines += textwrap.wrap(
            words, width, initial_indent=" " * begin, subsequent_indent=" " * NAME, break_long_words=False
        )
    indent = " " * NAME
    notes = textwrap.wrap(source.note, width, initial_indent=indent, subsequent_indent=indent)
    return lines + [click.style(line, dim=True) for line in notes]


def _groups(source: Source) -> str:
    if not source.groups:
        return "groups 1 to 32" if source.framing == "bus" else "groups by number"
    if not source.membership:
        return f"groups by number, *{' *'.join(source.groups)}"
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
        "note": source.note,
        "example": source.example,
        "groups": dict(source.groups),
        "default": list(source.default),
        "options": {name: option._asdict() for name, option in source.options.items()},
        "tables": list(source.tables),
    }
