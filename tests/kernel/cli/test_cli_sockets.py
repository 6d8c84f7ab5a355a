"""Sockets on the command line."""

import socket
import subprocess
import sys

import pytest

from tests.support.sockets import ip


@pytest.mark.parametrize(
    ("family", "address", "shown"),
    [(socket.AF_INET, "127.0.0.1", "127.0.0.1"), (socket.AF_INET6, "::1", "[::1]")],
)
def test_a_listener_is_a_line_with_its_end(family: int, address: str, shown: str) -> None:
    ip("link set lo up")
    with socket.create_server((address, 0), family=family) as server:
        port = server.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "nlbus",
            "snapshot",
            "sock_diag",
            "tcp",
            "--where",
            f"sport == {port}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"listen {shown}:{port} > " in done.stdout
