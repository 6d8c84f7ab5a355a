"""Build the compiled floors of nlbus; everything else stands in pyproject.toml."""

import os
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

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

setup(
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
