"""The command line. The library itself imports nothing from here."""

import gc
import signal
import sys
from collections.abc import Callable

from nlbus.cli.shared.interrupt import leave
from nlbus.errors import MissingExtra

__all__ = ["load", "run"]


def load() -> Callable[[], None]:
    """Return the command line as a function. MissingExtra if click is not installed."""
    try:
        import click  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtra("the command line needs click: pip install click") from error
    from nlbus.cli.main import main  # noqa: PLC0415

    return main


def run() -> None:
    """The console entry `nlbus`. Ends the process."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)
    gc.disable()  # there is no garbage in modules: looking for it takes a tenth of the start
    try:
        command = load()
    except MissingExtra as error:
        sys.exit(f"nlbus: {error}")
    command()
