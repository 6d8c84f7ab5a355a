"""What the files of kmod/ say of each other."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
KMOD = ROOT / "kmod"


def test_dkms_builds_this_version_and_all_modules() -> None:
    conf = dict(re.findall(r'^([\w\[\]]+)="(.*)"$', (KMOD / "dkms.conf").read_text(), re.M))
    assert (
        conf["PACKAGE_VERSION"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )
    modules = re.search(r"^obj-m := (.*)$", (KMOD / "Kbuild").read_text(), re.M)
    assert modules
    built = {f"{name}.o" for key, name in conf.items() if key.startswith("BUILT_MODULE_NAME")}
    assert built == set(modules[1].split())


def test_versions_of_the_kernel_are_compared_in_one_file_alone() -> None:
    sources = [path for path in KMOD.rglob("*.[ch]") if "LINUX_VERSION_CODE" in path.read_text()]
    assert sources == [KMOD / "compat.h"]


def test_each_source_is_built() -> None:
    objects = set(re.findall(r"\b(\w+)\.o\b", (KMOD / "Kbuild").read_text()))
    assert {path.stem for path in KMOD.glob("*.c")} <= objects
