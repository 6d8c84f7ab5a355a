"""The benchmarks' C code: errors where it cannot be compiled."""

import subprocess
from pathlib import Path

import pytest

from nlbus.bench.native import NoCompiler, compiled, compiling


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(compiling, "_workshop", lambda: tmp_path)
    return tmp_path


def test_without_a_compiler_the_error_says_what_to_install(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(NoCompiler, match=r"no C compiler \(no-such-compiler\) for floor.c: install gcc"):
        compiled("floor.c", shared=True)
    assert not list(workshop.iterdir())


def test_a_compile_error_has_the_compilers_message(workshop: Path, tmp_path: Path) -> None:
    source = tmp_path / "wrong.c"
    source.write_text("int main(void) { return missing; }\n")
    with pytest.raises(NoCompiler, match=r"(?s)could not compile wrong.c: .*missing.* undeclared"):
        compiled(source)
    assert not (workshop / "wrong").exists()


def test_a_program_is_compiled_once_with_the_wire_header(workshop: Path, tmp_path: Path) -> None:
    source = tmp_path / "small.c"
    source.write_text('#include "nlbus.h"\nint main(void) { return sizeof(struct nlbus_batch); }\n')
    program = compiled(source)
    made = program.stat().st_mtime_ns
    assert subprocess.run([program], check=False).returncode == 80
    assert compiled(source).stat().st_mtime_ns == made
