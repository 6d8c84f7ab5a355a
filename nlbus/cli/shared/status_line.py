"""What goes on just now, as a line on stderr that changes: only where that is a terminal."""

import contextlib
import sys
from typing import Any, Self

import click


class StatusLine:
    """The line. With a spinner where rich is installed (the extra `progress`), else plain."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self._spinner: Any = None
        self._live: Any = None

    def __enter__(self) -> Self:
        if self.shown:
            with contextlib.suppress(ImportError):
                self._begin()
        return self

    def _begin(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.live import Live  # noqa: PLC0415
        from rich.spinner import Spinner  # noqa: PLC0415

        console = Console(stderr=True, markup=False, highlight=False)
        self._spinner = Spinner("dots")
        # Its hands are kept off stdout, where results go.
        self._live = Live(
            self._spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def __exit__(self, *_: object) -> None:
        # What it is about must be ended, even if the terminal is gone.
        with contextlib.suppress(OSError):
            if self._live is not None:
                self._live.stop()
            elif self.shown:
                click.echo("\r\x1b[K", err=True, nl=False)

    def tell(self, text: str) -> None:
        """Show this until the next."""
        if self._live is not None:
            self._spinner.update(text=text)
        elif self.shown:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
