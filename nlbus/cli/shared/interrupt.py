"""Ctrl-C outside of what a command does."""

from __future__ import annotations

from os import _exit

INTERRUPTED = 130  # as shells report SIGINT


def leave(number: int, frame: object) -> None:
    """End the process at once and quietly: the handler of Ctrl-C while nothing needs to be tidied up.

    A KeyboardInterrupt would not do. Within an import it may become an ImportError, or a warning that an
    exception was ignored; while the interpreter ends, it is printed.
    """
    _exit(INTERRUPTED)
