"""`nlbus demo`: what nlbus does, in ten seconds, in a network namespace of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

import nlbus

PACKAGES = Path(nlbus.__file__).parents[1]
NETNS = Path("/proc/self/ns/net")
# Root takes new network and mount namespaces as it is; anybody else needs a user namespace to be root in.
WAYS = (["unshare", "-nm"], ["unshare", "-Urnm"])
HINTS = {
    "/proc/sys/user/max_user_namespaces": ("0", "user.max_user_namespaces is 0"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone is 0"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor forbids them (kernel.apparmor_restrict_unprivileged_userns is 1)",
    ),
}


@click.command()
def demo() -> None:
    """Show kernel events and the bus at full rate, with every loss counted, in about ten seconds.

    First a veth pair, addresses and routes are made and removed, and the kernel's events arrive as arrays.
    Then one process publishes as fast as it can to three that listen to different, overlapping groups; a
    table tells what each stream sent, and each subscriber got and lost. Last, receiving in Python is
    measured against a loop in C on the same datagrams (if there is a C compiler, in a checkout).

    All of it happens in new network and mount namespaces, which end with it: as root, or, through
    `unshare -Urnm`, as any user. Nothing of this host's network is touched.

    \b
    nlbus demo
    nlbus demo | less -R
    """
    way = _way()
    sys.stdout.flush()
    command = [*way, sys.executable, "-m", "nlbus.cli.demo.stage", str(NETNS.readlink())]
    os.execvpe(command[0], command, child_environment())


def _way() -> list[str]:
    if shutil.which("unshare") is None:
        raise click.ClickException("the demo needs the program unshare, of util-linux, to make namespaces")
    said = ""
    for way in WAYS:
        tried = subprocess.run([*way, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return way
        said = tried.stderr.strip()
    why = [why for path, (value, why) in HINTS.items() if _reads(path) == value]
    if why:
        said += f"; user namespaces are disabled: {', '.join(why)}"
    raise click.ClickException(
        f"the demo needs namespaces of its own, and may not make them ({said}). Run it as root, or have user "
        "namespaces enabled for ordinary users"
    )


def _reads(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def child_environment() -> dict[str, str]:
    """The environment in which a child process finds this same nlbus, installed or not."""
    environment = dict(os.environ)
    if PACKAGES.name not in ("site-packages", "dist-packages"):
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{PACKAGES}{os.pathsep}{rest}" if rest else str(PACKAGES)
    return environment
