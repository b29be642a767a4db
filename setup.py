"""Builds the C++ of elsewhere.model.fast into libraries inside the wheel; without a compiler the installation goes on.

ELSEWHERE_SANITIZE=1 builds them with AddressSanitizer and UndefinedBehaviorSanitizer (`make sanitize`), or fails.
"""

import os

from setuptools import Extension, setup

FAST = "src/elsewhere/model/fast"
SANITIZE = os.environ.get("ELSEWHERE_SANITIZE") == "1"
CHECKS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
OPTIMISE = ["-O1", "-g1", *CHECKS] if SANITIZE else ["-O3", "-g0"]
LINK = ["-pthread", *CHECKS] if SANITIZE else ["-pthread"]

setup(
    ext_modules=[
        Extension(
            "elsewhere.model.fast._training",
            [f"{FAST}/training.cpp"],
            depends=[f"{FAST}/{name}.h" for name in ("abi", "crew", "sets", "targets", "training", "vector")],
            language="c++",
            extra_compile_args=[*OPTIMISE, "-std=gnu++17", "-fno-trapping-math", "-pthread"],
            extra_link_args=LINK,
            optional=not SANITIZE,
        ),
        Extension(
            "elsewhere.model.fast._level1",
            [f"{FAST}/{name}.cpp" for name in ("level1", "level2", "sample")],
            depends=[
                f"{FAST}/{name}.h"
                for name in ("abi", "crew", "lanes", "sets", "targets", "turn", "vector", "wide", "winograd")
            ],
            language="c++",
            extra_compile_args=[*OPTIMISE, "-std=c++17", "-ffinite-math-only", "-fno-signed-zeros", "-pthread"],
            extra_link_args=LINK,
            optional=not SANITIZE,
        ),
    ]
)
