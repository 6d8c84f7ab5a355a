"""Namespaces for the demo, and an environment in which its processes import this same nlbus."""

import os
import shutil
import subprocess
from pathlib import Path

import click

import nlbus

PACKAGES = Path(nlbus.__file__).parents[1]
NETNS = Path("/proc/self/ns/net")
# Root can create network and mount namespaces; any other user must be root in a new user namespace.
WAYS = (["unshare", "-nm"], ["unshare", "-Urnm"])
HINTS = {
    "/proc/sys/user/max_user_namespaces": ("0", "user.max_user_namespaces is 0"),
    "/proc/sys/kernel/unprivileged_userns_clone": ("0", "kernel.unprivileged_userns_clone is 0"),
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns": (
        "1",
        "AppArmor forbids them (kernel.apparmor_restrict_unprivileged_userns is 1)",
    ),
}


def unshare_command() -> list[str]:
    """The command that enters new namespaces, as root or through a user namespace. ClickException."""
    if shutil.which("unshare") is None:
        raise click.ClickException("the demo needs the program unshare of util-linux to create namespaces")
    reason = ""
    for way in WAYS:
        tried = subprocess.run([*way, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            return way
        reason = tried.stderr.strip()
    why = [why for path, (value, why) in HINTS.items() if _reads(path) == value]
    if why:
        reason += f"; user namespaces are disabled: {', '.join(why)}"
    raise click.ClickException(
        f"the demo cannot create the namespaces it needs ({reason}). Run it as root, or enable user "
        "namespaces for ordinary users"
    )


def _reads(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def child_environment() -> dict[str, str]:
    """The environment in which a child process imports this same nlbus, installed or not."""
    environment = dict(os.environ)
    if PACKAGES.name not in ("site-packages", "dist-packages"):
        rest = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{PACKAGES}{os.pathsep}{rest}" if rest else str(PACKAGES)
    return environment
