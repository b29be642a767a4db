"""Builds the C++ of elsewhere.model.kernels into libraries; without a compiler the installation goes on.

ELSEWHERE_SANITIZE=1 builds them with AddressSanitizer and UndefinedBehaviorSanitizer (`make sanitize`), or fails.
"""

import os

from setuptools import Extension, setup

KERNELS = "src/elsewhere/model/kernels"
SHARED = ("abi", "dispatch", "targets", "threads", "vector")
SANITIZE = os.environ.get("ELSEWHERE_SANITIZE") == "1"
CHECKS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer"]
OPTIMISE = ["-O1", "-g1", *CHECKS] if SANITIZE else ["-O3", "-g0"]
LINK = ["-pthread", *CHECKS] if SANITIZE else ["-pthread"]

setup(
    ext_modules=[
        Extension(
            "elsewhere.model.kernels._training",
            [f"{KERNELS}/training.cpp"],
            depends=[f"{KERNELS}/{name}.h" for name in (*SHARED, "training_kernel")],
            language="c++",
            extra_compile_args=[*OPTIMISE, "-std=gnu++17", "-fno-trapping-math", "-pthread"],
            extra_link_args=LINK,
            optional=not SANITIZE,
        ),
        Extension(
            "elsewhere.model.kernels._level1",
            [f"{KERNELS}/{name}.cpp" for name in ("level1", "level2", "sample")],
            depends=[
                f"{KERNELS}/{name}.h"
                for name in (*SHARED, "level1_kernel", "level2_kernel", "sample_kernel", "winograd")
            ],
            language="c++",
            extra_compile_args=[*OPTIMISE, "-std=c++17", "-ffinite-math-only", "-fno-signed-zeros", "-pthread"],
            extra_link_args=LINK,
            optional=not SANITIZE,
        ),
    ]
)
