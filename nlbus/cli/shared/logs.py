"""What the library logs, on stderr."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from nlbus._text import escape


class _LogFormatter(logging.Formatter):
    """A record as one line, followed by the lines of its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"nlbus: {escape(record.getMessage())}"
        if record.exc_info:
            text += "\n" + escape(self.formatException(record.exc_info), keep="\n")
        return text


@contextmanager
def log_to_stderr() -> Iterator[None]:
    """Print what the library logs on stderr, as `report` prints messages."""
    handler = logging.StreamHandler()
    handler.setFormatter(_LogFormatter())
    logger = logging.getLogger("nlbus")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
