"""The sockets of a subscriber: opening them, on each transport."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from threading import Event

from nlbus._core.receive.receiver import Receiver
from nlbus._core.receive.socket import Socket
from nlbus.bus import transport
from nlbus.bus.options import Buffer
from nlbus.bus.transport import Transport
from nlbus.errors import NlbusError, PermissionDenied, SchemaError, kernel_error
from nlbus.filters.sources import Narrowing
from nlbus.kernel.groups import Groups
from nlbus.kernel.netns import Netns, home_of, inside
from nlbus.sources import Source, group_names, help_with
from nlbus.sources.bus import BUS, module_protocol


@dataclass(slots=True, kw_only=True)
class Opener:
    """Opens the sockets of one subscriber: its source's, or on the bus those of its transport.

    SchemaError for options that contradict each other.
    """

    source: Source
    transport: Transport
    reliable: bool
    netns: Netns
    all_nsid: bool
    trust: frozenset[int] | None
    buffer: Buffer
    narrowing: Narrowing

    def __post_init__(self) -> None:
        transport.checked(self.transport)
        if self.all_nsid and self.source.framing == "bus":
            raise SchemaError("all_nsid: the bus ends at its network namespace")
        if self.source.name == BUS.name:
            if self.reliable and self.transport == "usersock":
                raise SchemaError(
                    "reliable: over NETLINK_USERSOCK the kernel reports no full subscriber to a sender"
                )
        elif self.transport != "auto" or self.reliable:
            raise SchemaError(f"transport and reliable are of the bus, not of {self.source.name}")

    def receiver(self, groups: Groups, max_memory: int, parked: Event) -> Receiver:
        """Open the sockets. With "auto" the receiver waits for the module, if that is not loaded.

        PermissionDenied, KernelError.
        """
        try:
            return inside(self.netns, lambda: self._receiver(groups, max_memory, parked))
        except OSError as error:
            if isinstance(error, NlbusError):
                raise
            raise self.refused(error, "opening", groups) from error

    def _receiver(self, groups: Groups, max_memory: int, parked: Event) -> Receiver:
        if self.transport == "module":
            return Receiver(self._module(groups), max_memory=max_memory, parked=parked)
        if self.transport == "usersock" or self.source.name != BUS.name:
            return Receiver(self._own(groups), max_memory=max_memory, parked=parked)
        try:
            expected = transport.arrival()  # before we look, or we might miss its arrivals arrival
        except OSError as error:
            raise self.refused(error, "joining", groups) from error
        module = self._module(groups) if module_protocol() is not None else None
        try:
            first = self._own(groups)
        except PermissionDenied:
            if module is None:
                raise
            return Receiver(module, max_memory=max_memory, parked=parked)  # open_receive allows it
        receiver = Receiver(first, max_memory=max_memory, parked=parked)
        if module is None:
            receiver.expect(expected)
        else:
            receiver.attach(module)
        return receiver

    def join_module(self, receiver: Receiver, groups: Groups) -> bool:
        """Listen to the module, too, in the receiver's network namespace; False: it is not ready yet.

        PermissionDenied, KernelError.
        """
        if module_protocol() is None:
            return False
        home = home_of(receiver.sockets[0].fd)
        try:
            module = inside(home, lambda: self._module(groups))
        except NlbusError as error:
            if isinstance(error, OSError) and error.errno == errno.EPROTONOSUPPORT:
                return False
            raise
        finally:
            if home is not None:
                os.close(home)
        receiver.attach(module)
        return True

    def _own(self, groups: Groups) -> Socket:
        """The socket on the source's own protocol."""
        try:
            return Socket(
                self.source.protocol,
                self.source.framing,
                groups if self.source.membership else Groups(),
                buffer_bytes=self.buffer.size,
                buffer_limit=self.buffer.limit,
                sentinel=self.source.sentinel,
                all_nsid=self.all_nsid,
                trust_kernel=self.source.framing != "bus" or not self.source.user_groups,
                user_groups=self.source.user_groups,
                trust_uids=self._uids,
                filters=self.narrowing,
                gappy=self.narrowing.gappy,
            )
        except OSError as error:
            if error.strerror == "NETLINK_LISTEN_ALL_NSID":
                action = f"listening to {self.source.name} in all network namespaces"
                help = "needs CAP_NET_BROADCAST: run as root"
                raise kernel_error(error.errno or 0, action, help) from error
            raise self.refused(error, "joining", groups) from error

    def _module(self, groups: Groups) -> Socket:
        """The socket on the protocol of nlbus.ko, where the kernel itself publishes, too."""
        protocol = module_protocol()
        names = ", ".join(group_names(self.source, groups))
        action = f"joining {self.source.name} ({names}) through nlbus.ko"
        if protocol is None:
            raise kernel_error(errno.EPROTONOSUPPORT, action, transport.NOT_LOADED)
        try:
            return Socket(
                protocol,
                self.source.framing,
                groups,
                buffer_bytes=self.buffer.size,
                buffer_limit=self.buffer.limit,
                trust_kernel=True,
                user_groups=self.source.user_groups,
                trust_uids=self._uids,
                stamped=True,
                reliable=self.reliable,
                filters=self.narrowing,
                gappy=self.narrowing.gappy,
            )
        except OSError as error:
            raise kernel_error(error.errno or 0, action, help_with(self.source, error.errno or 0)) from error

    @property
    def _uids(self) -> tuple[int, ...] | None:
        return None if self.trust is None else tuple(self.trust)

    def refused(self, error: OSError, action: str, groups: Groups) -> NlbusError:
        """The error: what was tried, where, and what would help."""
        where = "" if self.netns is None else f" in network namespace {self.netns!r}"
        names = ", ".join(group_names(self.source, groups))
        number = error.errno or 0
        return kernel_error(
            number, f"{action} {self.source.name} ({names}){where}", help_with(self.source, number)
        )
