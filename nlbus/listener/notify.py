"""Status reports to systemd: sd_notify(3), a datagram to the socket that the environment names."""

from __future__ import annotations

import contextlib
import os
import socket
import time

USEC = 1_000_000


class Notifier:
    """Reports status if NOTIFY_SOCKET is set. It removes the variables, so that no handler reports."""

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        usec = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", str(os.getpid()))
        wanted = bool(self._address) and usec.isdigit() and pid == str(os.getpid())
        # Seconds between two keep-alives, half the timeout; None: no watchdog.
        self.watchdog = int(usec) / USEC / 2 if wanted and int(usec) else None

    def ready(self, status: str) -> None:
        """Listening has begun, or goes on after a reload."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """The rules are being reloaded; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Shutting down."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Keep the watchdog quiet."""
        self._send("WATCHDOG=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        path = self._address
        # "@" begins an abstract name. A service manager that does not listen is not an error.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)
