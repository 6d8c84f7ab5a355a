"""The command `nlbus` and what its subcommands share: errors as one line, exit codes."""

import errno
import sys
from typing import IO, Any

import click

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
from nlbus.cli.shared.stdout import discard_stdout, no_color
from nlbus.errors import NlbusError

BROKEN_OFF = 130  # as a shell says it of SIGINT

# Of streams and files: EIO where the terminal is gone.
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class Failure(click.ClickException):
    """An error of nlbus as one line on stderr; exit code 1."""

    def __init__(self, error: NlbusError) -> None:
        # An OSError would put "[Errno 1]" before what we have to say.
        super().__init__(str(getattr(error, "strerror", None) or error))

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it as `nlbus: ...`."""
        click.echo(f"nlbus: {self.message}", file=file, err=file is None)


class Commands(click.Group):
    """A group whose commands may raise NlbusError."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an NlbusError becomes a Failure, the rest ends it quietly."""
        if no_color():
            ctx.color = False
        try:
            return super().invoke(ctx)
        except NlbusError as error:
            raise Failure(error) from error
        except BrokenPipeError:
            discard_stdout()
        except KeyboardInterrupt:
            ctx.exit(BROKEN_OFF)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Hear the Linux kernel's netlink events, and those of processes, with every loss counted.

    \b
    nlbus sources                     what can be heard here
    nlbus listen route                links, addresses, routes as they change
    nlbus snapshot route link         those that there are now
    nlbus listen bus --group 1,7      events that processes publish
    nlbus publish --groups 1          a line of stdin, an event
    nlbus record route flap.pcapng    events into a file that tshark reads too
    nlbus replay flap.pcapng          that file, as listen would have shown it
    nlbus run rules.toml              programs for events, in the manner of udev rules
    nlbus test rules.toml flap.pcapng what they would run
    nlbus stats                       all netlink sockets, and what they dropped
    nlbus bench quick                 how fast it is on this machine, beside others
    nlbus packet rules list           packets that the module nlbus_packet drops or samples
    nlbus demo                        all of it in ten seconds
    nlbus completion bash             completion, for your shell

    Exit codes: 0 for success, and when Ctrl-C, SIGTERM, a closed terminal or pipe ends what would go on for
    ever; 1 for an error, in one line on stderr; 2 for wrong usage; 3 for losses where --fail-on-loss asks for
    it; 130 when Ctrl-C breaks off what would have ended by itself.

    Events go to stdout, all else to stderr. There is colour on a terminal, unless NO_COLOR is set.
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
        # A name of another encoding is shown escaped, not refused.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        commands(prog_name="nlbus")
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        discard_stdout()
        sys.exit(f"nlbus: writing: {error.strerror}")
