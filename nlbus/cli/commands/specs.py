"""The option --spec: a YNL spec in the place of SOURCE."""

from __future__ import annotations

from typing import Any

import click

OPTION = "--spec"


class WithSpec(click.Command):
    """A command whose SOURCE may be a YNL spec: --spec FILE, or the name of one."""

    is_source = True  # the spec is SOURCE
    explained = "A YNL spec of the kernel as SOURCE: a file, or the name of one that is installed."

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(
            click.Option(
                [OPTION], metavar="FILE|NAME", expose_value=False,
                help=self.explained,
            )
        )  # fmt: skip

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. The name of the spec's source is the first of them. NlbusError."""
        if not ctx.resilient_parsing:
            args = self._with_source(ctx, args)
        return super().parse_args(ctx, args)

    def _with_source(self, ctx: click.Context, args: list[str]) -> list[str]:
        spec, others = _parted(ctx, args)
        if not spec:
            return args
        name = loaded(spec)
        return [name, *others] if self.is_source else others


class KnowsSpec(WithSpec):
    """A command that reads a capture, which may be of a YNL spec."""

    is_source = False
    explained = "The YNL spec of a captured source: a file, or the name of one that is installed."


def _parted(ctx: click.Context, args: list[str]) -> tuple[str, list[str]]:
    """The value of --spec, and the other arguments."""
    for number, word in enumerate(args):
        name, given, value = word.partition("=")
        if word == "--":
            break
        if name == OPTION:
            if not given and number + 1 == len(args):
                ctx.fail(f"{OPTION} needs a file, or the name of a spec")
            file = value if given else args[number + 1]
            return file, [*args[:number], *args[number + (1 if given else 2) :]]
    return "", args


def loaded(file: str) -> str:
    """The name of the source that the spec is. NlbusError."""
    from nlbus.errors import kernel_error  # noqa: PLC0415 - only a command with --spec needs them
    from nlbus.ynl import load  # noqa: PLC0415

    try:
        return load(file).name
    except OSError as error:
        raise kernel_error(error.errno or 0, f"reading {file}") from error
