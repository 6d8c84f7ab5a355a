"""`nlbus replay`: a capture file as `nlbus listen` would have shown it."""

import sys
import time

import click

from nlbus import Capture, ClosedError, SchemaError, open_capture
from nlbus.cli.commands.completion import source_names
from nlbus.cli.render.view import Choice, View, choosing
from nlbus.cli.shared.follow import LOSS_EXIT, Progress, fail_on_loss_option, totals
from nlbus.cli.shared.options import speed as speed_factor
from nlbus.cli.shared.output import check_binary
from nlbus.cli.shared.shutdown import Ending, discard_stdout
from nlbus.cli.shared.sinks import Sink, stdout_sink
from nlbus.sources import Source

STDIN = "-"
LONGEST_WAIT = 3600.0  # seconds, of one poll


@click.command()
@click.argument("file", type=click.Path())
@choosing("text", "json", "csv", "arrow", "pcapng")
@click.option("--source", shell_complete=source_names, metavar="SOURCE", help="Only events of this source.")
@click.option(
    "--speed", type=speed_factor, default="full", metavar="full|original|N",
    help="As fast as it goes, in the time it took, or N times faster than that.",
)  # fmt: skip
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after exactly N events.")
@fail_on_loss_option
def replay(
    choice: Choice,
    file: str,
    source: str | None,
    speed: float | None,
    count: int | None,
    fail_on_loss: bool,
) -> None:
    """Print the events in FILE, a capture by `nlbus record`, or of nlmon by tcpdump; - is stdin.

    Lines, formats, gaps and the totals on stderr are those of `nlbus listen`, with the names of interfaces as
    far as FILE tells them. Of a damaged file everything before the damage is printed; then an error names the
    byte, and the exit code is 1.

    \b
    nlbus replay flap.pcapng
    nlbus replay flap.pcapng -o json | jq -r .nl_table
    nlbus replay flap.pcapng --table link --where 'operstate == down'
    nlbus replay flap.pcapng --table link -o arrow > links.arrows
    nlbus replay day.pcapng --source route -o pcapng > route.pcapng
    nlbus replay flap.pcapng --speed original
    tcpdump -i nlmon0 -U -w - | nlbus replay - --source route
    """
    check_binary(choice.output)
    where = sys.stdin.buffer if file == STDIN else file
    with Ending() as ending:
        capture = ending.unless_over(lambda: open_capture(where, source, on_loss="ignore"))
        if capture is None:
            return
        with capture:
            views = _Views(capture, choice)
            sink = None
            try:
                sink = stdout_sink(choice.output, capture, views.first, views.of)
                _play(capture, sink, ending, count, speed)
                views.check()
            except BrokenPipeError:
                discard_stdout()
            finally:
                lost = totals(capture.stats(), sink, capture.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


class _Views:
    """The views of the sources that were met. SchemaError where the file's own has nothing to show."""

    def __init__(self, capture: Capture, choice: Choice) -> None:
        self._choice = choice
        self._views: dict[str, View | None] = {}
        self._unfit: SchemaError | None = None
        self.first = None if capture.source is None or choice.output == "pcapng" else self.of(capture.source)

    def of(self, source: Source) -> View | None:
        """None: a source that has nothing of what is to be shown, among others."""
        if source.name not in self._views:
            try:
                self._views[source.name] = View(source, self._choice)
            except SchemaError as error:
                self._views[source.name] = None
                self._unfit = error
        return self._views[source.name]

    def check(self) -> None:
        """SchemaError where nothing of the file has what is to be shown."""
        if self._unfit is not None and not any(self._views.values()):
            raise self._unfit


def _play(capture: Capture, sink: Sink, ending: Ending, count: int | None, speed: float | None) -> None:
    """Until `count` events were shown, the capture ends, or it is over. BrokenPipeError, CaptureError."""
    began: tuple[float, int] | None = None  # by the clock, and in the capture
    try:
        with Progress(capture, sink) as progress:
            while not ending.over and (count is None or sink.shown < count):
                batch = ending.unless_over(capture.recv)
                if batch is None:
                    break
                if speed is not None:
                    began = began or (time.monotonic(), batch.time_ns)
                    at = began[0] + (batch.time_ns - began[1]) / 1e9 / speed
                    while not ending.over and (left := at - time.monotonic()) > 0:
                        ending.wait(min(left, LONGEST_WAIT))
                    if ending.over:
                        break
                sink.write(batch, capture.source, None if count is None else count - sink.shown)
                progress.idle()
    except ClosedError:
        pass
    finally:
        sink.close(capture.stats()["open"])
