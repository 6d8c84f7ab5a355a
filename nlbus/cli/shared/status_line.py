"""A status line on stderr that is overwritten in place; only on a terminal."""

import contextlib
import sys
from typing import Any, Self

import click

from nlbus._text import escape


class StatusLine:
    """The line; with a spinner if rich is installed (the extra `progress`)."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()
        self._spinner: Any = None
        self._live: Any = None

    def __enter__(self) -> Self:
        if self.shown:
            with contextlib.suppress(ImportError):
                self._start_spinner()
        return self

    def _start_spinner(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - an extra
        from rich.live import Live  # noqa: PLC0415
        from rich.spinner import Spinner  # noqa: PLC0415

        console = Console(stderr=True, markup=False, highlight=False)
        self._spinner = Spinner("dots")
        # Results go to stdout, which rich must not capture.
        self._live = Live(
            self._spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False
        )
        self._live.start()

    def __exit__(self, *_: object) -> None:
        # The command must end cleanly even if its terminal is gone.
        with contextlib.suppress(OSError):
            if self._live is not None:
                self._live.stop()
            elif self.shown:
                click.echo("\r\x1b[K", err=True, nl=False)

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._live is not None:
            from rich.text import Text  # noqa: PLC0415

            self._spinner.update(text=Text(escape(text)))  # a str would be parsed as markup
        elif self.shown:
            click.echo(f"\r\x1b[K{escape(text)}", err=True, nl=False)
