"""uevent: devices that come and go, as the kernel (group 1) and udev (group 2, after its rules) report."""

import struct
from collections.abc import Iterable

from nlbus.kernel.groups import Groups
from nlbus.schema.manners import Doubt, Manners
from nlbus.schema.schema import Envelope, TextSchema
from nlbus.schema.types import S32, TEXT, U32, U64, Field
from nlbus.sources.existing import devices
from nlbus.sources.source import Source

# udev's own header: "libudev", a magic number (big-endian), header_size, properties_off, properties_len, and
# hashes for socket filters.
UDEV_HEADER = Envelope(b"libudev\0", b"\xfe\xed\xca\xfe", size=40, start=16, length=20)

# The keys that several subsystems share; all others are in `env` only.
KEYS = (
    Field("action", TEXT),
    Field("devpath", TEXT),  # below /sys
    Field("subsystem", TEXT),
    Field("seqnum", U64),
    Field("devname", TEXT),  # of the kernel below /dev, of udev with it
    Field("devtype", TEXT),
    Field("driver", TEXT),
    Field("interface", TEXT),
    Field("ifindex", S32, display="interface"),
    Field("major", U32),
    Field("minor", U32),
    Field("modalias", TEXT),
    Field("product", TEXT),
    Field("type", TEXT),
    Field("diskseq", U64),
    Field("devpath_old", TEXT),  # of a device that was moved or renamed
    Field("synth_uuid", TEXT),  # of an event that user space triggered; 0: without a UUID
)

SCHEMA = TextSchema(
    name="uevent",
    keys=KEYS,
    required=("action", "devpath"),
    op="action",
    ops={"add": "new", "remove": "del"},
    env="env",
    title=True,  # action@devpath
    envelope=UDEV_HEADER,
    key=("devpath",),
    manners=Manners(
        moves="devpath_old",
        volatile=("action", "seqnum", "synth_uuid", "devpath_old", "env"),
        doubts=(Doubt(of="uevent", having="devpath_old", why="the children of a device move with it"),),
    ),
    groups=("kernel", "udev"),
    dump=devices,
    about="devices: added, changed, moved, bound to a driver, removed",
)

UEVENT = Source(
    name="uevent",
    protocol=15,
    kernel_name="NETLINK_KOBJECT_UEVENT",
    framing="datagram",
    groups={"kernel": 1, "udev": 2},
    default=Groups(1),
    schemas=(SCHEMA,),
    user_groups=Groups(2).mask,  # udev is a process: believed if it is root (CVE-2009-1185)
    trust_self=False,
    probe=Groups(1),
    needs="no privilege; a namespace of an ordinary user hears only its own network devices",
    option="CONFIG_NET",
    example="nlbus listen uevent",
)


def variables(pairs: Iterable[str]) -> dict[str, str]:
    """Return the KEY=VALUE pairs of the column `env` as a dict; the last one of a key counts."""
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def parse_uevent(datagram: bytes) -> dict[str, str] | None:
    """Return all variables of a uevent of the kernel or of udev; None without ACTION and DEVPATH."""
    if datagram.startswith(UDEV_HEADER.begin):
        if len(datagram) < UDEV_HEADER.length + 4:
            return None
        start, length = struct.unpack_from("=II", datagram, UDEV_HEADER.start)
        words = datagram[start : start + length].split(b"\0")
    else:
        words = datagram.split(b"\0")[1:]
    env = variables(word.decode(errors="surrogateescape") for word in words if b"=" in word)
    return env if "ACTION" in env and "DEVPATH" in env else None
