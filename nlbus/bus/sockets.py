"""What a subscriber is asked to be, checked: whom to believe, how large a buffer, which options. And opening
its sockets."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Event
from typing import Literal

from nlbus._core.receive.receiver import Receiver
from nlbus._core.receive.scatter import MAX_TRUSTED
from nlbus._core.receive.socket import Socket
from nlbus.bus import transport
from nlbus.bus.transport import Transport
from nlbus.errors import NlbusError, PermissionDenied, SchemaError, kernel_error
from nlbus.kernel.arguments import whole
from nlbus.kernel.groups import Groups, integer
from nlbus.kernel.netns import Netns, home_of, inside
from nlbus.kernel.procfs import all_uids_are_mapped, overflow_uid
from nlbus.kernel.truesize import truesize
from nlbus.sources import Source, did_you_mean, group_names, help_with
from nlbus.sources.bus import BUS, module_protocol

DEFAULT_BUFFER = 64 << 20  # of truesize; the kernel takes it from memory only as it fills
GROWN_BUFFER = 256 << 20  # that the default grows to, twofold after each overrun
MAX_BUFFER = 0x7FFF_F000
NO_UID = 0xFFFF_FFFF  # (uid_t) -1

Trust = Literal["any"] | Iterable[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The sockets of one subscriber: of its source, or on the bus those of its transport.

    SchemaError for what does not go together.
    """

    source: Source
    transport: Transport
    reliable: bool
    netns: Netns
    all_nsid: bool
    trust: frozenset[int] | None
    buffer_bytes: int
    buffer_limit: int

    def __post_init__(self) -> None:
        transport.checked(self.transport)
        if self.all_nsid and self.source.framing == "bus":
            raise SchemaError("all_nsid: the bus ends at its network namespace")
        if self.source.name == BUS.name:
            if self.reliable and self.transport == "usersock":
                raise SchemaError("reliable: over NETLINK_USERSOCK the kernel tells no sender who is full")
        elif self.transport != "auto" or self.reliable:
            raise SchemaError(f"transport and reliable are of the bus, not of {self.source.name}")

    def receiver(self, groups: Groups, max_memory: int, parked: Event) -> Receiver:
        """Open what can be opened now. In "auto" the receiver expects the module, if that is not loaded.

        PermissionDenied, KernelError.
        """
        return inside(self.netns, lambda: self._receiver(groups, max_memory, parked))

    def _receiver(self, groups: Groups, max_memory: int, parked: Event) -> Receiver:
        if self.transport == "module":
            return Receiver(self._module(groups), max_memory=max_memory, parked=parked)
        if self.transport == "usersock" or self.source.name != BUS.name:
            return Receiver(self._own(groups), max_memory=max_memory, parked=parked)
        try:
            expected = transport.arrival()  # before we look, or we might miss it
        except OSError as error:
            raise self.refused(error, "joining", groups) from error
        module = self._module(groups) if module_protocol() is not None else None
        try:
            first = self._own(groups)
        except PermissionDenied:
            if module is None:
                raise
            return Receiver(module, max_memory=max_memory, parked=parked)  # which open_receive allows
        receiver = Receiver(first, max_memory=max_memory, parked=parked)
        if module is None:
            receiver.expect(expected)
        else:
            receiver.attach(module)
        return receiver

    def join_module(self, receiver: Receiver, groups: Groups) -> bool:
        """Hear the module, too, where `receiver` is at home; False: it is not ready. PermissionDenied,
        KernelError."""
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
                buffer_bytes=self.buffer_bytes,
                buffer_limit=self.buffer_limit,
                sentinel=self.source.sentinel,
                all_nsid=self.all_nsid,
                trust_kernel=self.source.framing != "bus" or not self.source.user_groups,
                user_groups=self.source.user_groups,
                trust_uids=self._uids,
            )
        except OSError as error:
            if error.strerror == "NETLINK_LISTEN_ALL_NSID":
                action = f"listening to {self.source.name} in all network namespaces"
                help = "needs CAP_NET_BROADCAST: run as root"
                raise kernel_error(error.errno or 0, action, help) from error
            raise self.refused(error, "joining", groups) from error

    def _module(self, groups: Groups) -> Socket:
        """The socket on the protocol of nlbus.ko. There the kernel itself publishes, too."""
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
                buffer_bytes=self.buffer_bytes,
                buffer_limit=self.buffer_limit,
                trust_kernel=True,
                user_groups=self.source.user_groups,
                trust_uids=self._uids,
                stamped=True,
                reliable=self.reliable,
            )
        except OSError as error:
            raise kernel_error(error.errno or 0, action, help_with(self.source, error.errno or 0)) from error

    @property
    def _uids(self) -> tuple[int, ...] | None:
        return None if self.trust is None else tuple(self.trust)

    def refused(self, error: OSError, action: str, groups: Groups) -> NlbusError:
        """The error that says what was tried, where, and what would help."""
        where = "" if self.netns is None else f" in network namespace {self.netns!r}"
        names = ", ".join(group_names(self.source, groups))
        number = error.errno or 0
        return kernel_error(
            number, f"{action} {self.source.name} ({names}){where}", help_with(self.source, number)
        )


def buffer_sizes(events: int | None, event_bytes: int) -> tuple[int, int]:
    """Bytes of receive buffer for so many single events, and what it may grow to: nothing if asked for."""
    if events is None:
        return DEFAULT_BUFFER, GROWN_BUFFER
    events = whole(events, "buffer_events", 1, MAX_BUFFER)
    # One more: the kernel refuses a datagram that would fill the buffer exactly.
    size = min((events + 1) * truesize(event_bytes), MAX_BUFFER)
    return size, size


def trusted(source: Source, trust: Trust) -> frozenset[int] | None:
    """The uids to believe; None: any.

    By default root and our own uid. The kernel shows every sender without a uid in this user namespace as
    nobody, so nobody is not believed by default where there may be such senders, even if we are nobody.
    """
    if trust == "any":
        return None
    if trust is not None:
        if isinstance(trust, str):
            raise SchemaError(f"trust={trust!r}: uids, or 'any'")
        uids = frozenset(integer(uid, "a uid of trust") for uid in trust)
        if len(uids) > MAX_TRUSTED or any(not 0 <= uid < NO_UID for uid in uids):
            raise SchemaError(f"trust={sorted(uids)}: at most {MAX_TRUSTED} uids, each of 32 bits")
        return uids
    own = frozenset({0, os.getuid()} if source.trust_self else {0})
    return own - {nobody} if (nobody := overflow_uid()) in own and not all_uids_are_mapped() else own


def option_values(source: Source, options: Mapping[str, float] | None) -> dict[str, float]:
    """The source's options: those given, the others as they are by default."""
    values = {name: option.default for name, option in source.options.items()}
    for name, value in (options or {}).items():
        if name not in source.options:
            known = ", ".join(source.options) or "none"
            hint = did_you_mean(name, source.options)
            raise SchemaError(f"no option {name!r} of {source.name}{hint}: there are {known}")
        option = source.options[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise SchemaError(f"option {name}={value!r} of {source.name}: a number ({option.meaning})")
        if not option.lowest <= value <= option.highest:
            raise SchemaError(
                f"option {name}={value} of {source.name}: from {option.lowest:g} to {option.highest:g} "
                f"({option.meaning})"
            )
        values[name] = value
    return values
