"""The command `nlbus`: its subcommands, errors as one line, exit codes."""

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import click

from nlbus._text import escape
from nlbus.cli.commands.bench import bench
from nlbus.cli.commands.completion import completion
from nlbus.cli.commands.demo import demo
from nlbus.cli.commands.listen import listen
from nlbus.cli.commands.packet import packet
from nlbus.cli.commands.publish import publish
from nlbus.cli.commands.record import record
from nlbus.cli.commands.replay import replay
from nlbus.cli.commands.run import run
from nlbus.cli.commands.snapshot import snapshot
from nlbus.cli.commands.sources import sources
from nlbus.cli.commands.stats import stats
from nlbus.cli.commands.test import test
from nlbus.cli.shared.stderr import report
from nlbus.cli.shared.stdout import discard_stdout, no_color
from nlbus.errors import NlbusError

INTERRUPTED = 130  # as shells report SIGINT

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
    """A group whose commands may raise NlbusError."""

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


for command in (
    bench,
    sources,
    listen,
    snapshot,
    publish,
    record,
    replay,
    run,
    test,
    stats,
    packet,
    demo,
    completion,
):
    commands.add_command(command)


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
