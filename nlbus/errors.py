"""Every error that nlbus raises. Each one is also the builtin error that a caller expects."""

import errno as _errno
import os
from importlib import import_module as _import_module
from typing import Any


class NlbusError(Exception):
    """The base of all errors."""


class PermissionDenied(NlbusError, PermissionError):  # noqa: N818 - the public name
    """A privilege is missing: `.errno` is EPERM or EACCES."""


class UnknownSource(NlbusError, LookupError):  # noqa: N818 - the public name
    """No source, or no group of a source, has this name."""


class KernelError(NlbusError, OSError):
    """Any other refusal: `.errno`, the kernel's text (`.extack`), the bad attribute's `.offset` in bytes."""

    def __init__(self, errno: int, message: str, extack: str = "", offset: int | None = None) -> None:
        super().__init__(errno, message)
        self.extack = extack
        self.offset = offset


class SchemaError(NlbusError, ValueError):
    """A value does not fit: a group number, a dtype, a field, a payload."""


class UnknownColumn(SchemaError, KeyError):  # noqa: N818 - beside UnknownSource
    """A table has no column of this name."""

    __str__ = Exception.__str__  # KeyError's quotes the whole message


class LossError(NlbusError):
    """Events were lost, and on_loss is "raise": `.loss` has the details."""

    def __init__(self, message: str, loss: object = None) -> None:
        super().__init__(message)
        self.loss = loss


class ClosedError(NlbusError, ValueError):
    """The subscriber or publisher has been closed."""


class BusyError(NlbusError, RuntimeError):
    """Another thread is already reading from this subscriber."""


class ArenaFull(NlbusError, MemoryError):  # noqa: N818 - the public name
    """Batches in use hold `max_memory` bytes: release some."""


class CaptureError(NlbusError, ValueError):
    """A capture is damaged, or is none: `.path`, `.offset` of the damage. Earlier records were delivered."""

    def __init__(self, message: str, path: str, offset: int) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset


class MissingExtra(NlbusError, ImportError):  # noqa: N818 - the public name
    """An optional package is not installed."""


def extra(module: str, what: str, install: str = "") -> Any:
    """Import a package that nlbus does not depend on, for `what`. MissingExtra.

    install: what pip installs, if not a package of the module's name.
    """
    try:
        return _import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtra(f"{what} needs {package}: pip install {install or package}") from error


# What would help, whatever was tried.
_HELP = {
    _errno.EMFILE: "raise the process's limit of open files (ulimit -n)",
    _errno.ENFILE: "raise the machine's limit of open files (sysctl fs.file-max)",
    _errno.ENOMEM: "the kernel has no memory for it",
}


def kernel_error(
    errno: int,
    action: str,
    help: str = "",
    *,
    extack: str = "",
    offset: int | None = None,
    limits: str = "",
) -> NlbusError:
    """Return the error for `errno` (positive) of `action`: PermissionDenied or KernelError.

    The message is "<action>: <the kernel's text>; <help>": `action` names source and group ("joining group 3
    of bus"), `help` a way to make it work, `limits` how a value breaks the
    kernel's policy ("40 is below 68").
    """
    message = f"{action}: {os.strerror(errno)}"
    if extack or limits:
        message += f" ({': '.join(filter(None, (extack, limits)))})"
    if help := help or _HELP.get(errno, ""):
        message += f"; {help}"
    if errno in (_errno.EPERM, _errno.EACCES):
        return PermissionDenied(errno, message)
    return KernelError(errno, message, extack, offset)
