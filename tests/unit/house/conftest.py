"""The wheel of this tree, made once."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel of this tree has, unpacked: the folder for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("wheel")
    lib = folder / "lib"
    for module in ROOT.glob("nlbus/**/*.so"):  # compiled already: by the same command, from the same sources
        copy = lib / module.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(module, copy)
    command = ["build", "--build-lib", str(lib), "bdist_wheel", "--bdist-dir", str(folder / "staged")]
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", str(folder), *command,
         "--dist-dir", str(folder / "dist")],
        check=True, cwd=ROOT, capture_output=True,
    )  # fmt: skip
    (made,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder / "unpacked")
    return folder / "unpacked"
