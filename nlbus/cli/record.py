"""`nlbus record`: events into a capture file."""

import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import BinaryIO, Unpack

import click

from nlbus import Subscriber
from nlbus.capture import Recorded, Recorder
from nlbus.cli.ending import Ending, discard_stdout
from nlbus.cli.listening import Where, listening_options, subscribe
from nlbus.errors import kernel_error

STDOUT = "-"
TICK = 0.5  # seconds between two looks of the progress line


@click.command()
@listening_options
@click.argument("file")
@click.option("-f", "--force", is_flag=True, help="Overwrite FILE if it exists.")
def record(file: str, count: int | None, seconds: float | None, force: bool, **where: Unpack[Where]) -> None:
    """Record the events of SOURCE to FILE, a pcapng capture; - is stdout.

    tshark and Wireshark open it and decode what they know (link type NETLINK), `nlbus replay` and
    `nlbus.open_capture` read it back with each event's group and sender, its time, and every loss. Each batch
    is written at once: whatever ends the recording, the file can be read up to its last whole block.

    Ends after --count or --seconds, or with Ctrl-C or SIGTERM, which is no error. Totals come on stderr, on a
    terminal also while it goes on.

    \b
    nlbus record route flap.pcapng --seconds 60
    nlbus record bus -g 1,7 events.pcapng --count 100000
    nlbus record route - | tshark -r -
    """
    with subscribe(**where) as subscriber, _opened(file, force) as out:
        try:
            recorder = Recorder(out, subscriber, "stdout" if file == STDOUT else file)
            with Ending(subscriber) as ending:
                _run(recorder, subscriber, ending, count, seconds)
        except BrokenPipeError:
            discard_stdout()
            return
        _clear()
        click.echo(f"nlbus: {_words(recorder.recorded)}", err=True)


def _run(
    recorder: Recorder, subscriber: Subscriber, ending: Ending, count: int | None, seconds: float | None
) -> None:
    deadline = None if seconds is None else time.monotonic() + seconds
    progress = sys.stderr.isatty()
    told = 0.0
    while not ending.over and (count is None or recorder.messages < count):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        if progress:
            left = TICK if left is None else min(left, TICK)
        if ending.wait(left):
            recorder.write(subscriber.recv(timeout=0), None if count is None else count - recorder.messages)
        if progress and time.monotonic() - told >= TICK:
            told = time.monotonic()
            _clear()
            click.echo(f"nlbus: {_words(recorder.recorded)}", err=True, nl=False)


def _words(recorded: Recorded) -> str:
    return (
        f"{recorded.messages} events, {recorded.bytes} bytes, {recorded.lost} lost, "
        f"{recorded.dropped} dropped, {recorded.open} open"
    )


def _clear() -> None:
    """The progress line goes."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", err=True, nl=False)


def _opened(file: str, force: bool) -> AbstractContextManager[BinaryIO]:
    if file == STDOUT:
        if sys.stdout.isatty():
            raise click.UsageError("a capture is no text: redirect it, or name a file")
        return nullcontext(sys.stdout.buffer)
    try:
        # Unbuffered, so that each batch is one write.
        return open(file, "wb" if force else "xb", buffering=0)  # noqa: PTH123
    except OSError as error:
        help = "--force overwrites it" if isinstance(error, FileExistsError) else ""
        raise kernel_error(error.errno or 0, f"recording to {file}", help) from error
