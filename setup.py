"""The two C extensions, each of all files in its folders. All else is in pyproject.toml."""

from glob import glob

from setuptools import Extension, setup

# Where a long has 32 bits, stat would refuse files above 2 GiB and times after 2038 (EOVERFLOW).
WIDE: list[tuple[str, str | None]] = [("_FILE_OFFSET_BITS", "64"), ("_TIME_BITS", "64")]


def extension(name: str, modules: list[str], *folders: str) -> Extension:
    """Return an extension that may be missing: without a compiler its slower Python twin works."""
    sources = [source for folder in folders for source in sorted(glob(f"native/{folder}/*.c"))]
    return Extension(
        f"archipmigrate.{name}",
        [*(f"native/python/{module}.c" for module in modules), *sources],
        include_dirs=["native"],
        define_macros=WIDE,
        depends=glob("native/**/*.h", recursive=True),
        extra_compile_args=[
            "-O2",
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-fvisibility=hidden",
            "-pthread",
        ],
        extra_link_args=["-pthread"],
        optional=True,
    )


setup(
    ext_modules=[
        extension(
            "_native",
            ["native_module", "objects", "maps", "chosen"],
            *("local", "objects", "mapfile", "core"),
        ),
        extension("_nfs", ["nfs_module"], "nfs", "nfs/proto", "core"),
    ]
)
