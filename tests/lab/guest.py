"""One guest: QEMU with the host's files runs one command."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.lab import apt
from tests.lab.apt import Unavailable
from tests.lab.initramfs import initramfs
from tests.lab.kernels import Kernel

LEAST, FAILED, TIMED_OUT = 16, 100, 101  # as in init.c
ACCUSED = re.compile(
    r"BUG[: ]|WARNING: |Oops|Kernel panic|Call Trace:|INFO: (possible|suspicious|task|rcu|trying)"
    r"|general protection|KASAN|UBSAN:|soft lockup|kmemleak: [1-9]|unreferenced object"
)
# The emulator translates loops but interprets repeated string instructions, by which kernels copy and clear
# memory if the processor claims that they are fast.
CPU = "max,-erms,-fsrm"
FAST = "mitigations=off clearcpuid=rep_good"
VIRTIOFSD = ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")


def run(
    kernel: Kernel,
    command: list[str],
    *,
    results: Path,
    timeout: float,
    parallel: bool,
    environment: dict[str, str] | None = None,
) -> int:
    """Run a command as root in the current folder and return its exit status. `results` receives the
    kernel's log and is /run/lab in the guest. If the guest does not boot, panics or hangs, the status is at
    least 100.

    `parallel`: one host thread per processor. If a processor then changes code that another is executing (a
    tracepoint, a static key), QEMU 7.2 may keep the old translation, a breakpoint that is no longer known:
    both spin with interrupts disabled. One thread for all processors avoids that.
    """
    results.mkdir(parents=True, exist_ok=True)
    script = results / "command.sh"
    script.write_text(preamble(kernel, environment or {}) + f"exec {shlex.join(command)}\n")
    log = results / "console.log"
    log.unlink(missing_ok=True)
    # A short path: that of a socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="nlbus-") as folder:
        image = initramfs(kernel, Path(folder))
        shared, monitor = Path(folder) / "fs", Path(folder) / "monitor"
        files = subprocess.Popen(
            [*virtiofsd(), "-f", f"--socket-path={shared}", "-o", "source=/,cache=always,sandbox=chroot"],
            stdout=subprocess.DEVNULL,
            stderr=(results / "virtiofsd.log").open("w"),
        )
        try:
            await_socket(shared, files, results)
            # On a busy machine the emulated timer fails the check at boot.
            append = f"console=ttyS0 panic=-1 oops=panic unknown_nmi_panic no_timer_check {FAST}"
            append += f" {kernel.options} -- {timeout:.0f} {results} /bin/sh {script}"
            machine = subprocess.Popen(
                [*qemu(shared, kernel.memory, parallel=parallel),
                 "-kernel", kernel.image, "-initrd", image, "-append", append,
                 "-serial", f"file:{log}", "-serial", "stdio", "-monitor", f"unix:{monitor},server,nowait"],
                stdin=None if sys.stdin.isatty() else subprocess.DEVNULL,
            )  # fmt: skip
            apt.report(f"booting {kernel.release}, emulated: up to a minute; its log is {log}")
            try:
                status = machine.wait(timeout + 60)
            except subprocess.TimeoutExpired:
                interrupt(monitor)
                return TIMED_OUT
            finally:
                machine.kill()
                machine.wait()
        finally:
            files.kill()
            files.wait()
    return (status >> 1) - LEAST if status & 1 and status >> 1 >= LEAST else FAILED


def preamble(kernel: Kernel, environment: dict[str, str]) -> str:
    """Shell commands that set up the guest: the interpreter's path and little else of this machine."""
    variables = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        "COLUMNS": "110",
        **({} if sys.stdout.isatty() else {"TERM": "dumb"}),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        **environment,
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    if kernel.modules.exists():
        lines += ["mkdir -p /lib/modules", f"mount --bind {shlex.quote(str(kernel.modules))} /lib/modules"]
    lines += ["hostname guest", "ip link set lo up", f"cd {shlex.quote(str(Path.cwd()))}", ""]
    return "\n".join(lines)


def qemu(shared: Path, memory: int, *, parallel: bool) -> list[str]:
    program = "qemu-system-x86_64"
    accelerator = f"tcg,thread={'multi' if parallel else 'single'}"
    if shutil.which(program) is None:
        raise Unavailable("qemu-system-x86_64 is not installed (Debian: apt-get install qemu-system-x86)")
    return [
        program, "-nodefaults", "-no-reboot", "-display", "none", "-machine", "q35",
        "-accel", accelerator, "-cpu", CPU, "-smp", "2", "-m", f"{memory}",
        "-object", f"memory-backend-memfd,id=memory,size={memory}M,share=on", "-numa", "node,memdev=memory",
        "-chardev", f"socket,id=files,path={shared}", "-device", "vhost-user-fs-pci,chardev=files,tag=host",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
    ]  # fmt: skip


def virtiofsd() -> list[str]:
    """The command that serves files. It needs to be root, if only in a user namespace."""
    for path in VIRTIOFSD:
        if Path(path).exists():
            return [path] if os.geteuid() == 0 else ["unshare", "--map-root-user", path]
    raise Unavailable("virtiofsd is not installed (Debian: apt-get install qemu-system-common, or virtiofsd)")


def await_socket(path: Path, server: subprocess.Popen[bytes], results: Path) -> None:
    give_up = time.monotonic() + 10
    while not path.exists():
        if server.poll() is not None or time.monotonic() > give_up:
            raise Unavailable(f"virtiofsd does not start: {(results / 'virtiofsd.log').read_text().strip()}")
        time.sleep(0.01)


def interrupt(monitor: Path) -> None:
    """Send an NMI: a kernel that hangs writes a stack trace to its log."""
    with socket.socket(socket.AF_UNIX) as to:
        to.connect(str(monitor))
        to.sendall(b"nmi\n")
        time.sleep(5)


def accusations(log: Path) -> list[str]:
    """Lines of the kernel's log that report a fault."""
    found = lines(log)
    if not any("Linux version" in line for line in found):
        return ["the kernel did not start"]
    return [line for line in found if ACCUSED.search(line)]


def lines(log: Path) -> list[str]:
    return log.read_text(errors="replace").splitlines() if log.exists() else []
