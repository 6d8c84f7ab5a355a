"""Build the compiled floors of nlbus; everything else stands in pyproject.toml."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Command, Extension, setup

FLAGS = ["-O3", "-std=gnu11", "-Wall", "-Wextra", "-Wno-unused-function", "-Wno-unused-parameter",
         "-Wno-sign-compare", "-Wno-maybe-uninitialized"]  # fmt: skip
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
            "-g", "-O1"]  # fmt: skip
UTILITY = "nlbus._core.utility"  # Cython's own helpers, compiled once for all modules

sanitize = bool(os.environ.get("NLBUS_SANITIZE"))
cores = len(os.sched_getaffinity(0))


def extension(name: str, source: Path) -> Extension:
    """A module and how it is compiled."""
    return Extension(
        name,
        [str(source)],
        include_dirs=["kmod/uapi", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        depends=["kmod/uapi/nlbus.h"],
        extra_compile_args=FLAGS + (SANITIZE if sanitize else []),
        extra_link_args=SANITIZE if sanitize else [],
    )


sources = sorted(Path("nlbus").glob("_*/**/*.pyx"))
extensions = [extension(".".join(path.with_suffix("").parts), path) for path in sources]
extensions.append(extension(UTILITY, Path(UTILITY.replace(".", "/")).with_suffix(".c")))


class InstallPages(Command):
    """Write the manual pages into share/man/man1 of a wheel. An editable installation has none."""

    description = "write the manual pages"
    user_options = []  # noqa: RUF012 - setuptools wants a list
    outfiles: list[str]

    def initialize_options(self) -> None:  # noqa: D102
        self.install_dir: str | None = None
        self.outfiles = []

    def finalize_options(self) -> None:  # noqa: D102
        self.set_undefined_options("install", ("install_data", "install_dir"))

    def run(self) -> None:  # noqa: D102
        assert self.install_dir is not None
        folder = Path(self.install_dir, "share/man/man1")
        if find_spec("click") is None:
            self.announce("no manual pages: they are made of the help of the commands, which needs click", 3)
            return
        pages = [sys.executable, "-m", "nlbus.cli.man", str(folder.resolve())]
        subprocess.run(pages, check=True, cwd=Path(__file__).parent)
        self.outfiles = [str(path) for path in sorted(folder.iterdir())]

    def get_inputs(self) -> list[str]:  # noqa: D102
        return []

    def get_outputs(self) -> list[str]:  # noqa: D102
        return self.outfiles


setup(
    cmdclass={"install_data": InstallPages},
    data_files=[("share/man/man1", [])],  # what InstallPages writes
    options={"build_ext": {"parallel": cores}},
    ext_modules=cythonize(
        extensions,
        annotate=bool(os.environ.get("NLBUS_ANNOTATE")),
        build_dir="build/cython",
        nthreads=cores,
        shared_utility_qualified_name=UTILITY,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "auto_pickle": False,
            "autotestdict": False,
            "embedsignature": False,
        },
    ),
)
