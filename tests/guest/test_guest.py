"""The laboratory itself."""

import os
from pathlib import Path


def test_we_are_root_in_a_guest_whose_files_are_its_own() -> None:
    assert os.uname().nodename == "guest"
    assert os.geteuid() == 0
    mounts = Path("/proc/mounts").read_text()
    assert "overlay / overlay" in mounts
    assert " /tmp " not in mounts, "a checkout below /tmp would be hidden"
