"""`nlbus replay`: print a capture file as `nlbus listen` would have."""

import sys
import time

import click

from nlbus import Capture, ClosedError, SchemaError, open_capture
from nlbus.cli.render.interface_names import InterfaceNames
from nlbus.cli.render.times import Clock
from nlbus.cli.render.view import View
from nlbus.cli.render.view_options import ViewOptions
from nlbus.cli.shared.follow import LONGEST_WAIT, LOSS_EXIT, Progress, report_totals
from nlbus.cli.shared.output import check_binary
from nlbus.cli.shared.shutdown import Shutdown
from nlbus.cli.shared.sinks import Sink, stdout_sink
from nlbus.cli.shared.stdout import discard_stdout
from nlbus.sources import Source

STDIN = "-"


def replay(
    view_options: ViewOptions,
    file: str,
    source: str | None,
    speed: float | None,
    count: int | None,
    fail_on_loss: bool,
) -> None:
    """Print the events in FILE, which `nlbus record` or tcpdump on nlmon has written; - is stdin."""
    Clock.local = view_options.local
    check_binary(view_options.output)
    where = sys.stdin.buffer if file == STDIN else file
    with Shutdown() as shutdown:
        capture = shutdown.interruptible(lambda: open_capture(where, source, on_loss="ignore"))
        if capture is None:
            return
        with capture:
            views = _Views(capture, view_options)
            sink = None
            try:
                sink = stdout_sink(view_options.output, capture, views.first, views.of)
                _play(capture, sink, shutdown, count, speed)
                views.check()
            except BrokenPipeError:
                discard_stdout()
            finally:
                lost = report_totals(capture.stats(), sink, capture.source)
    if lost and fail_on_loss:
        raise click.exceptions.Exit(LOSS_EXIT)


class _Views:
    """One view per source in the capture."""

    def __init__(self, capture: Capture, view_options: ViewOptions) -> None:
        self._options = view_options
        self._views: dict[str, View | None] = {}
        self._names = InterfaceNames()  # of all sources: links name those of packets
        self._unfit: SchemaError | None = None
        self.first = (
            None if capture.source is None or view_options.output == "pcapng" else self.of(capture.source)
        )

    def of(self, source: Source) -> View | None:
        """The view of a source; None if it has no table or column to show."""
        if source.name not in self._views:
            try:
                self._views[source.name] = View(source, self._options, self._names)
            except SchemaError as error:
                self._views[source.name] = None
                self._unfit = error
        return self._views[source.name]

    def check(self) -> None:
        """Raise SchemaError if no source in the capture has anything to show."""
        if self._unfit is not None and not any(self._views.values()):
            raise self._unfit


def _play(capture: Capture, sink: Sink, shutdown: Shutdown, count: int | None, speed: float | None) -> None:
    """Write events until `count`, the end of the capture, or shutdown. BrokenPipeError, CaptureError."""
    began: tuple[float, int] | None = None  # time.monotonic(), and the first time_ns in the capture
    try:
        with Progress(capture, sink) as progress:
            while not shutdown.requested and (count is None or sink.shown < count):
                batch = shutdown.interruptible(capture.recv)
                if batch is None:
                    break
                if speed is not None:
                    began = began or (time.monotonic(), batch.time_ns)
                    at = began[0] + (batch.time_ns - began[1]) / 1e9 / speed
                    while not shutdown.requested and (left := at - time.monotonic()) > 0:
                        shutdown.wait(min(left, LONGEST_WAIT))
                    if shutdown.requested:
                        break
                sink.write(batch, capture.source, None if count is None else count - sink.shown)
                progress.idle()
    except ClosedError:
        pass
    finally:
        sink.close(capture.stats()["open"])
