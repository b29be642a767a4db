"""The C++ of elsewhere.model.fast in, a library inside the wheel out; without a compiler the installation goes on."""

from setuptools import Extension, setup

FAST = "src/elsewhere/model/fast"

setup(
    ext_modules=[
        Extension(
            "elsewhere.model.fast._training",
            [f"{FAST}/training.cpp"],
            depends=[f"{FAST}/{name}.h" for name in ("crew", "sets", "training", "vector")],
            language="c++",
            extra_compile_args=["-O3", "-g0", "-std=gnu++17", "-fno-trapping-math", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,
        ),
        Extension(
            "elsewhere.model.fast._level1",
            [f"{FAST}/{name}.cpp" for name in ("level1", "level2", "sample")],
            depends=[f"{FAST}/{name}.h" for name in ("crew", "lanes", "sets", "turn", "vector", "wide", "winograd")],
            language="c++",
            extra_compile_args=["-O3", "-g0", "-std=c++17", "-ffinite-math-only", "-fno-signed-zeros", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,
        ),
    ]
)
