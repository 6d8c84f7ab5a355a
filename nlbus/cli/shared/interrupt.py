"""Ctrl-C outside of what a command does."""

from os import _exit
from types import FrameType

INTERRUPTED = 130  # as shells report SIGINT


def leave(number: int, frame: FrameType | None) -> None:
    """End the process at once and quietly: the handler of Ctrl-C while nothing needs to be tidied up.

    A KeyboardInterrupt would not do. Within an import it may become an ImportError, or a warning that an
    exception was ignored; while the interpreter ends, it is printed.
    """
    _exit(INTERRUPTED)
