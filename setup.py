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

sanitize = bool(os.environ.get("NLBUS_SANITIZE"))
extensions = [
    Extension(
        ".".join(path.with_suffix("").parts),
        [str(path)],
        include_dirs=["kmod/uapi", numpy.get_include()],
        define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
        depends=["kmod/uapi/nlbus.h"],
        extra_compile_args=FLAGS + (SANITIZE if sanitize else []),
        extra_link_args=SANITIZE if sanitize else [],
    )
    for path in sorted(Path("nlbus").glob("_*/*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        annotate=bool(os.environ.get("NLBUS_ANNOTATE")),
        build_dir="build/cython",
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
    )
)
