"""`nlbus replay`: a capture file as `nlbus listen` would have shown it."""

import sys
import time

import click

from nlbus import Batch, Capture, ClosedError, SchemaError, open_capture
from nlbus.cli import show
from nlbus.cli.ending import Ending, discard_stdout
from nlbus.cli.options import speed as speed_factor
from nlbus.cli.output import LOSS_EXIT, QUIET, Lines, totals
from nlbus.cli.viewing import Choice, View, viewing_options
from nlbus.sources import Source

STDIN = "-"
LONGEST_WAIT = 3600.0  # seconds, of one poll


@click.command()
@click.argument("file")
@viewing_options
@click.option("--source", metavar="SOURCE", help="Only events of this source.")
@click.option(
    "--speed", type=speed_factor, default="full", metavar="full|original|N",
    help="As fast as it goes, in the time it took, or N times faster than that.",
)  # fmt: skip
@click.option("-c", "--count", type=click.IntRange(1), metavar="N", help="End after exactly N events.")
@click.option("--fail-on-loss", is_flag=True, help="Exit with 3, at the end, if anything was lost.")
def replay(
    choice: Choice,
    file: str,
    source: str | None,
    speed: float | None,
    count: int | None,
    fail_on_loss: bool,
) -> None:
    """Print the events in FILE, a capture by `nlbus record`, or of nlmon by tcpdump; - is stdin.

    Lines, gaps and the totals on stderr are those of `nlbus listen`, with the names of interfaces as far as
    FILE tells them. Of a damaged file everything before the
    damage is printed; then an error names the byte, and the exit code is 1.

    \b
    nlbus replay flap.pcapng
    nlbus replay flap.pcapng -o json | jq -r .nl_table
    nlbus replay flap.pcapng --table link --where 'operstate == down'
    nlbus replay flap.pcapng --speed original
    tcpdump -i nlmon0 -U -w - | nlbus replay - --source route
    """
    where = sys.stdin.buffer if file == STDIN else file
    with Ending() as ending:
        capture = ending.unless_over(lambda: open_capture(where, source, on_loss="ignore"))
        if capture is None:
            return
        with capture:
            player = _Player(capture, choice, speed)
            try:
                player.run(ending, count)
            except BrokenPipeError:
                discard_stdout()
            finally:
                lost = totals(capture.stats(), player.shown, capture.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


class _Player:
    """Writes the events and gaps of a capture, when it is their time."""

    def __init__(self, capture: Capture, choice: Choice, speed: float | None) -> None:
        self.shown = 0
        self._capture = capture
        self._choice = choice
        self._gaps = Lines(show.as_json if choice.output == "json" else show.as_text)
        self._views: dict[str, View | None] = {}  # of the sources that were met
        self._unfit: SchemaError | None = None
        self._speed = speed
        self._began: tuple[float, int] | None = None  # by the clock, and in the capture
        self._open = 0  # dropped datagrams that nothing explains, as of ...
        self._open_since = 0  # ... this time in ns UTC
        self._open_told = 0

    def run(self, ending: Ending, count: int | None) -> None:
        """Until `count` events were shown, the capture ends, or it is over.

        BrokenPipeError, CaptureError; SchemaError where nothing of the file has what is to be shown.
        """
        if self._capture.source is not None:
            self._view(self._capture.source)
        try:
            while not ending.over and (count is None or self.shown < count):
                batch = ending.unless_over(self._capture.recv)
                if batch is not None and self._wait(ending, batch.time_ns):
                    self._batch(batch, None if count is None else count - self.shown)
        except ClosedError:
            pass
        self._tell_open()
        if self._unfit is not None and not any(self._views.values()):
            raise self._unfit

    def _wait(self, ending: Ending, time_ns: int) -> bool:
        """Until it is the time of this batch; False if it is over before."""
        if self._speed is not None:
            if self._began is None:
                self._began = time.monotonic(), time_ns
            at = self._began[0] + (time_ns - self._began[1]) / 1e9 / self._speed
            while not ending.over and (left := at - time.monotonic()) > 0:
                ending.wait(min(left, LONGEST_WAIT))
        return not ending.over

    def _batch(self, batch: Batch, limit: int | None) -> None:
        if batch.time_ns - self._open_since > QUIET * 1e9:
            self._tell_open()
        if batch.loss.open != self._open:
            self._open_since = batch.time_ns
        self._open = batch.loss.open
        self._open_told = min(self._open_told, self._open)
        self._gaps.write(show.gaps(batch.loss))
        source = self._capture.source
        if batch and source is not None and (view := self._view(source)):
            self.shown += Lines(view.line).write(view.records(batch, limit))

    def _view(self, source: Source) -> View | None:
        """None: a source that has nothing of what is to be shown, among others."""
        if source.name not in self._views:
            try:
                self._views[source.name] = View(source, self._choice)
            except SchemaError as error:
                self._views[source.name] = None
                self._unfit = error
        return self._views[source.name]

    def _tell_open(self) -> None:
        if self._open > self._open_told:
            self._gaps.write([show.open_gap(self._open)])
            self._open_told = self._open
