"""Builds the Cython core; all other metadata is in pyproject.toml.

`ext/` mirrors the package path so that `cimport` between modules works. Generated C goes to
`build/cython`, never into the tree. `HEADRACE_DEBUG=1` builds with bounds checks, line tracing
and debug symbols.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DEBUG = os.environ.get("HEADRACE_DEBUG", "") not in ("", "0")

extensions = [
    Extension(
        ".".join(source.with_suffix("").relative_to("ext").parts),
        [str(source)],
        extra_compile_args=["-Wall", "-Wextra", "-Wno-unused-parameter"]
        + (["-O0", "-g3"] if DEBUG else ["-O2"]),
        define_macros=[("CYTHON_TRACE", "1")] if DEBUG else [],
    )
    for source in sorted(Path("ext").glob("headrace/*/*.pyx"))
]

setup(
    ext_modules=cythonize(
        extensions,
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "embedsignature": True,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": DEBUG,
            "linetrace": DEBUG,
        },
    ),
)
