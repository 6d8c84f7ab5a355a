"""The command `nlbus`: its subcommands, errors as one line, exit codes."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import IO, Any

import click
from click.shell_completion import CompletionItem

import nlbus
from nlbus._text import escape
from nlbus.cli.shared.interrupt import INTERRUPTED
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.stdout import discard_stdout, no_color
from nlbus.errors import NlbusError

# The commands, each a module of `commands/` that is imported when it is used, and their help in one line.
COMMANDS = {
    "bench": "Measure on this machine, beside other libraries and tools.",
    "completion": "Print the completion script of a shell.",
    "demo": "Show all of it in ten seconds.",
    "listen": "Print events as they happen, or run a program for each.",
    "packet": "Drop or sample packets, with the module nlbus_packet.",
    "publish": "Publish each line of stdin as an event on the bus.",
    "record": "Write events to a capture or to a file of rows.",
    "replay": "Print a capture as listen would have.",
    "run": "Run programs and Python functions by a file of rules.",
    "snapshot": "Print all rows of a table as they are now, or write them.",
    "sources": "List sources, their tables, or the columns of a table.",
    "stats": "Show all netlink sockets and their drops.",
    "test": "Show what a file of rules would run for a capture.",
}

# Errors of writing to streams and files; EIO: the terminal is gone.
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Failure(click.ClickException):
    """An error of nlbus as one line on stderr; exit code 1."""

    def __init__(self, error: NlbusError) -> None:
        # str() of an OSError would put "[Errno 1]" before the message.
        super().__init__(str(getattr(error, "strerror", None) or error))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print `nlbus: MESSAGE` as one line."""
        report(self.message, file=file)


class Commands(click.Group):
    """The commands of the table. They may raise NlbusError."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"nlbus.cli.commands.{cmd_name}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command. UsageError, which suggests one."""
        name = args[0]
        if name not in COMMANDS and name[:1] != "-":
            from difflib import get_close_matches  # noqa: PLC0415 - only then

            close = get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"No such command {name!r}{''.join(f' (did you mean {word!r}?)' for word in close)}.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table, without importing the commands."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the name of a command, without importing the commands, or an option."""
        found = [
            CompletionItem(name, help=COMMANDS[name]) for name in COMMANDS if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Parse the group's own options; usage errors are escaped."""
        with _escaped_errors():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. An NlbusError becomes a Failure; Ctrl-C and a closed pipe end quietly."""
        if no_color():
            ctx.color = False
        try:
            with _escaped_errors():
                return super().invoke(ctx)
        except NlbusError as error:
            raise Failure(error) from error
        except BrokenPipeError:
            discard_stdout()
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)


@contextmanager
def _escaped_errors() -> Iterator[None]:
    """Escape click's messages, which may quote arguments."""
    try:
        yield
    except click.ClickException as error:
        error.message = escape(error.message, keep="\n\t")  # type: ignore[misc]  # Final, but by convention
        raise


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(nlbus.__version__, message="nlbus %(version)s")
def commands() -> None:
    """Receive netlink events of the Linux kernel and of processes, with every loss counted.

    \b
    nlbus sources                     list the sources available here
    nlbus listen route                print changes of links, addresses, routes
    nlbus snapshot route link         print all links as they are now
    nlbus listen bus --group 1,7      print events that processes publish
    nlbus publish --groups 1          publish each line of stdin as an event
    nlbus record route flap.pcapng    write events to a file that tshark reads too
    nlbus replay flap.pcapng          print that file as listen would have
    nlbus run rules.toml              run programs for events, as udev rules do
    nlbus test rules.toml flap.pcapng show what they would run
    nlbus stats                       show all netlink sockets and their drops
    nlbus bench quick                 measure this machine, beside other libraries
    nlbus packet rules list           list rules that drop or sample packets
    nlbus demo                        show all of it in ten seconds
    nlbus completion bash             print the completion script of a shell

    Exit codes: 0 on success, and when Ctrl-C, SIGTERM, a closed terminal or a closed pipe ends a command that
    would run forever; 1 on an error, reported in one line on stderr; 2 on wrong usage; 3 on losses with
    --fail-on-loss; 130 when Ctrl-C interrupts a command that would have ended by itself.

    Events go to stdout, everything else to stderr. Output on a terminal has colours unless NO_COLOR is set.

    Values from events are never trusted. Text is escaped so that one event is one line and cannot control the
    terminal. CSV in files and pipes has the values unaltered; a spreadsheet may take one that begins with =,
    +, - or @ for a formula.
    """


def main() -> None:
    """Run the command line; ends the process."""
    for stream in (sys.stdout, sys.stderr):
        # Print characters that the encoding lacks as escapes, instead of failing.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        commands(prog_name="nlbus")
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        discard_stdout()
        sys.exit(f"nlbus: writing: {error.strerror}")
