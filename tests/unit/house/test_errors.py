"""The tree of errors: how a caller catches them, and what they carry."""

import errno
import pickle

import pytest

from nlbus import errors
from nlbus.errors import KernelError, LossError, NlbusError, PermissionDenied, kernel_error


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("PermissionDenied", PermissionError),
        ("UnknownSource", LookupError),
        ("KernelError", OSError),
        ("SchemaError", ValueError),
        ("LossError", Exception),
        ("ClosedError", ValueError),
        ("BusyError", RuntimeError),
        ("ArenaFull", MemoryError),
        ("MissingExtra", ImportError),
    ],
)
def test_each_leaf_is_a_builtin_and_an_nlbuserror(name: str, builtin: type[Exception]) -> None:
    leaf = getattr(errors, name)
    assert issubclass(leaf, builtin)
    assert leaf.__mro__[1] is NlbusError


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES])
def test_a_missing_privilege_is_permission_denied_and_carries_errno(number: int) -> None:
    error = kernel_error(number, "joining group 3 of bus", "run as root")
    assert type(error) is PermissionDenied
    assert error.errno == number
    assert "joining group 3 of bus: " in str(error)
    assert str(error).endswith("; run as root")


def test_another_errno_is_a_kernel_error_with_the_kernels_message() -> None:
    error = kernel_error(errno.EINVAL, "dumping link of route", extack="Invalid header", offset=16)
    assert type(error) is KernelError
    assert (error.errno, error.extack, error.offset) == (errno.EINVAL, "Invalid header", 16)
    assert str(error) == "[Errno 22] dumping link of route: Invalid argument (Invalid header)"


def test_a_kernel_error_never_becomes_another_builtin() -> None:
    error = kernel_error(errno.ENOENT, "opening protocol 16")
    assert isinstance(error, KernelError)
    assert not isinstance(error, FileNotFoundError)
    assert (error.extack, error.offset) == ("", None)


def test_a_loss_error_carries_the_loss() -> None:
    loss = {"events": 3}
    assert LossError("3 events lost", loss).loss is loss


@pytest.mark.parametrize(
    "error",
    [
        kernel_error(errno.EPERM, "joining", "run as root"),
        KernelError(errno.EBUSY, "asking", "busy", 4),
        LossError("lost", 3),
    ],
)
def test_errors_can_be_pickled(error: NlbusError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)
    assert getattr(again, "errno", None) == getattr(error, "errno", None)
