"""The command line. The library itself imports nothing from here."""

from __future__ import annotations

# Not signal, nor typing: they take milliseconds, in which Ctrl-C would be a traceback.
from _signal import SIGINT, default_int_handler, getsignal, signal  # type: ignore[import-not-found]

from nlbus.cli.shared.interrupt import leave

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["load", "run"]


def load() -> Callable[[], None]:
    """Return the command line as a function. MissingExtra if click is not installed."""
    try:
        import click  # noqa: F401, PLC0415
    except ImportError as error:
        from nlbus.errors import MissingExtra  # noqa: PLC0415

        raise MissingExtra("the command line needs click: pip install click") from error
    from nlbus.cli.main import main  # noqa: PLC0415

    return main


def run() -> None:
    """The console entry `nlbus`. Ends the process."""
    if getsignal(SIGINT) is default_int_handler:
        signal(SIGINT, leave)
    import gc  # noqa: PLC0415
    import sys  # noqa: PLC0415

    gc.disable()  # there is no garbage in modules: looking for it takes a tenth of the start
    from nlbus.errors import MissingExtra  # noqa: PLC0415

    try:
        command = load()
    except MissingExtra as error:
        sys.exit(f"nlbus: {error}")
    command()
