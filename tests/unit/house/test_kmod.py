"""The files of kmod/ agree with each other, and `make -C kmod install` gives DKMS all of them."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KMOD = ROOT / "kmod"
NOUNS = {"nlbus/main.c": "nlbus", "nlbus/types.c": "nlbus"}  # else a file's name, or that of its folder


def test_dkms_builds_this_version_and_all_modules() -> None:
    conf = dict(re.findall(r'^([\w\[\]]+)="(.*)"$', (KMOD / "dkms.conf").read_text(), re.M))
    assert (
        conf["PACKAGE_VERSION"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    )
    modules = re.search(r"^obj-m := (.*)$", (KMOD / "Kbuild").read_text(), re.M)
    assert modules
    built = {f"{name}.o" for key, name in conf.items() if key.startswith("BUILT_MODULE_NAME")}
    assert built == set(modules[1].split())


def test_only_one_file_compares_kernel_versions() -> None:
    sources = [path for path in KMOD.rglob("*.[ch]") if "LINUX_VERSION_CODE" in path.read_text()]
    assert sources == [KMOD / "compat.h"]


def test_every_source_is_built() -> None:
    lines = re.findall(r"^nlbus\w*-y := \$\(addprefix (\w+)/,(.*)\)$", (KMOD / "Kbuild").read_text(), re.M)
    objects = {f"{folder}/{name}" for folder, names in lines for name in names.split()}
    assert {f"{path.parent.name}/{path.stem}.o" for path in KMOD.glob("[ngp]*/*.c")} == objects


def test_a_stack_trace_shows_the_file_of_each_static_function() -> None:
    for path in KMOD.glob("[ngp]*/*.c"):
        name = str(path.relative_to(KMOD))
        noun = NOUNS.get(name, path.parent.name if path.parent.name != "nlbus" else path.stem)
        nouns = {noun, path.stem}
        functions = re.findall(r"^static (?:[\w ]+[ *])?(\w+)\([^;]*?\)\n\{", path.read_text(), re.M)
        assert not [one for one in functions if one.split("_")[0] not in nouns], name


def test_seconds_in_nanoseconds_have_64_bits_on_each_processor() -> None:
    """NSEC_PER_SEC is a long: where that has 32 bits, 5 seconds were 0.7."""
    products = r"[^;\n=]*\* NSEC_PER_SEC|[^;\n=]*\bNSEC_PER_SEC \*"
    for path in KMOD.rglob("*.[ch]"):
        found = re.findall(products, path.read_text())
        assert not [one for one in found if not re.search(r"\dULL\b.*\*|\(u64\)", one)], path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of kmod/, with headers and a `dkms` that says how it was called."""
    shutil.copytree(KMOD, tmp_path / "kmod")
    (tmp_path / "headers").mkdir()
    (tmp_path / "headers/Makefile").touch()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/dkms").write_text('#!/bin/sh\necho "dkms $*"\n')
    (tmp_path / "bin/dkms").chmod(0o755)
    return tmp_path


def install(source: Path, target: str = "install", headers: str = "headers") -> tuple[list[str], str]:
    """How `dkms` was called, and what was said on stderr."""
    paths = [f"KDIR={source / headers}", f"SRC={source / 'src'}"]
    environment = {**os.environ, "PATH": f"{source / 'bin'}:{os.environ['PATH']}"}
    command = ["make", "-C", str(source / "kmod"), target, *paths]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return [line for line in done.stdout.splitlines() if re.match(r"dkms \w+ ", line)], done.stderr


def versions(source: Path) -> list[str]:
    return sorted(path.name.removeprefix("nlbus-") for path in (source / "src").glob("*"))


def test_dkms_gets_every_source_and_a_new_version_when_one_changed(source: Path) -> None:
    calls, _ = install(source)
    [first] = versions(source)
    assert [call for call in calls if "echo" not in call][-1] == f"dkms install --force nlbus/{first}"
    there = source / "src" / f"nlbus-{first}"
    sources = [path.relative_to(KMOD) for path in KMOD.rglob("*.[ch]") if path.suffixes != [".mod", ".c"]]
    expected = {str(path) for path in sources} | {"Kbuild", "Makefile", "COPYING", "dkms.conf"}
    copied = {str(path.relative_to(there)) for path in there.rglob("*") if path.is_file()}
    assert copied == expected - {"examples/subscribe.c"}
    assert f'PACKAGE_VERSION="{first}"' in (there / "dkms.conf").read_text()

    install(source)
    assert versions(source) == [first]
    with (source / "kmod/nlbus/ring.c").open("a") as file:
        file.write("/* changed */\n")
    calls, _ = install(source)
    [second] = versions(source)
    assert second != first
    assert f"dkms install --force nlbus/{second}" in calls
    assert calls[-1] == f"dkms remove nlbus/{first} --all"
    install(source, "uninstall")
    assert versions(source) == []


def test_without_headers_nothing_is_copied(source: Path) -> None:
    calls, said = install(source, headers="none")
    assert (calls, versions(source)) == ([], [])
    assert "no headers to build modules with" in said
