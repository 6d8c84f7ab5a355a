"""The initramfs of a guest: our init, and the modules to mount the host's files."""

import lzma
import stat
from pathlib import Path

from tests.lab import apt
from tests.lab.kernels import Kernel

HERE = Path(__file__).parent
NEEDED = ("virtio_pci", "virtiofs", "overlay")


def initramfs(kernel: Kernel, folder: Path) -> Path:
    """Write the initramfs into `folder`; the names of modules sort in the order of loading."""
    init = folder / "init"
    apt.run("gcc", "-std=gnu11", "-O2", "-static", "-o", init, HERE / "init.c")
    files = {"init": init.read_bytes()}
    for i, module in enumerate(modules(kernel)):
        data = module.read_bytes()
        files[f"modules/{i:02}-{module.name.removesuffix('.xz')}"] = (
            lzma.decompress(data) if module.suffix == ".xz" else data
        )
    path = folder / "initramfs"
    path.write_bytes(cpio(files))
    return path


def modules(kernel: Kernel) -> list[Path]:
    """The modules of NEEDED that are not built in, each after its dependencies."""
    root = kernel.modules / kernel.release
    found: list[Path] = []
    if not root.exists():
        return found
    for line in sorted((root / "modules.dep").read_text().splitlines(), key=position):
        name, _, needs = line.partition(":")
        if position(line) < len(NEEDED):
            found += [root / path for path in [*reversed(needs.split()), name] if root / path not in found]
    return found


def position(line: str) -> int:
    """The index in NEEDED of the module in a line of modules.dep."""
    name = Path(line.partition(":")[0]).name.partition(".")[0].replace("-", "_")
    return NEEDED.index(name) if name in NEEDED else len(NEEDED)


def cpio(files: dict[str, bytes]) -> bytes:
    """A cpio archive in the format newc, which the kernel unpacks."""
    folders = sorted({str(Path(name).parent) for name in files} - {"."})
    entries = [(name, stat.S_IFDIR | 0o755, b"") for name in folders]
    entries += [(name, stat.S_IFREG | 0o755, data) for name, data in files.items()]
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + path
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)
