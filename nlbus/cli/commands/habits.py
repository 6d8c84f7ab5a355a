"""Options of udevadm, ip and conntrack: whoever types them is told the words of nlbus."""

import re
from collections.abc import Callable

import click

from nlbus.cli.commands.specs import WithSpec

# An option, what follows it, and what to write instead; {} is what follows. None that nlbus has itself.
HABITS: dict[str, Callable[[str], str]] = {
    # udevadm monitor
    "-k": lambda _: "-g kernel",
    "--kernel": lambda _: "-g kernel",
    "-u": lambda _: "-g udev",
    "--udev": lambda _: "-g udev",
    "-p": lambda value: f"-w 'proto == {value}'" if re.fullmatch(r"[a-z]+|\d+", value) else "-v",
    "--property": lambda _: "-v",
    "--subsystem-match": lambda value: f"-m SUBSYSTEM={value or 'net'}",
    # ip monitor; times are shown anyway
    "-ts": lambda _: "nothing: each line begins with its time",
    "-timestamp": lambda _: "nothing: each line begins with its time",
    "-tshort": lambda _: "nothing: each line begins with its time",
    "-d": lambda _: "-v",
    "-details": lambda _: "-v",
    "-j": lambda _: "-o json",
    "-json": lambda _: "-o json",
    "-4": lambda _: "-w 'family == inet'",
    "-6": lambda _: "-w 'family == inet6'",
    "all-nsid": lambda _: "--all-nsid",
    # conntrack
    "-E": lambda _: "nothing: listen waits for events",
    "-e": lambda value: f"-g {value.lower() or 'new'}",
    "--proto": lambda value: f"-w 'proto == {value or 'tcp'}'",
    "--dport": lambda value: f"-w 'dport == {value or '80'}'",
    "--sport": lambda value: f"-w 'sport == {value or '80'}'",
    "--src": lambda value: f"-w 'src == {value or '10.0.0.1'}'",
    "--dst": lambda value: f"-w 'dst == {value or '10.0.0.1'}'",
}


class Habitual(WithSpec):
    """A command that explains the options of other tools."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments. UsageError for an option of another tool."""
        own = {name for parameter in self.params for name in (*parameter.opts, *parameter.secondary_opts)}
        for number, word in enumerate(args):
            if word == "--":
                break
            before = args[number - 1] if number else ""
            if before in own and before not in self._flags():
                continue  # the value of an option
            name, _, value = word.partition("=")
            value = value or (args[number + 1] if number + 1 < len(args) else "")
            value = "" if value.startswith("-") else value
            if name == "-s" and value and not re.match(r"[\d.]", value):
                instead = f"-m SUBSYSTEM={value}"
            elif name in HABITS and name not in own:
                instead = HABITS[name](value)
            else:
                continue
            ctx.fail(f"{word} is an option of another tool: write {instead}")
        return super().parse_args(ctx, args)

    def _flags(self) -> set[str]:
        return {
            name
            for parameter in self.params
            if isinstance(parameter, click.Option) and parameter.is_flag
            for name in (*parameter.opts, *parameter.secondary_opts)
        }
