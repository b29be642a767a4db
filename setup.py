"""The C++ of elsewhere.model.fast in, a library inside the wheel out; without a compiler the installation goes on."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "elsewhere.model.fast._level1",
            ["src/elsewhere/model/fast/level1.cpp"],
            depends=["src/elsewhere/model/fast/lanes.h"],
            language="c++",
            extra_compile_args=["-O3", "-g0", "-std=c++17", "-ffinite-math-only", "-fno-signed-zeros", "-pthread"],
            extra_link_args=["-pthread"],
            optional=True,
        )
    ]
)
