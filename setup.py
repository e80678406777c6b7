"""What pyproject.toml cannot say.

The two C extensions, each of all files in its folders; the README as an index shows it; completion
and manual pages, which are made of the parser.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_py import build_py

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


def readme() -> str:
    """Return the README with absolute links: an index has no other files of the tree."""
    source = tomllib.loads(Path("pyproject.toml").read_text())["project"]["urls"]["Source"]
    return re.sub(r"\]\((?![a-z]+:|#)", f"]({source}/blob/main/", Path("README.md").read_text())


class BuildAll(build_py):
    """Builds what the parser knows, too: `completion SHELL` prints the package's own copy."""

    def run(self) -> None:
        """Build; an editable install makes completion when it is asked for."""
        super().run()
        if self.editable_mode:
            return
        made = Path(self.build_lib).with_name("made")
        here = os.pathsep.join(filter(None, [os.getcwd(), os.environ.get("PYTHONPATH")]))
        subprocess.run(
            [sys.executable, "-m", "archipmigrate.cli.made", made],
            env={**os.environ, "PYTHONPATH": here},
            check=True,
        )
        bash, zsh = made / "completion" / "bash", made / "completion" / "zsh"
        for script in (bash, zsh):
            target = Path(self.build_lib, "archipmigrate", "cli", "completion-scripts", script.name)
            target.parent.mkdir(exist_ok=True)
            self.copy_file(str(script), str(target))
        self.distribution.data_files = [
            ("share/man/man1", sorted(map(str, (made / "man").iterdir()))),
            ("share/bash-completion/completions", [renamed(bash, "archipmigrate")]),
            ("share/zsh/site-functions", [renamed(zsh, "_archipmigrate")]),
        ]


def renamed(path: Path, name: str) -> str:
    """Copy *path* to the name that a shell looks for, beside it. Return the copy's path."""
    return str(shutil.copy(path, path.with_name(name)))


setup(
    cmdclass={"build_py": BuildAll},
    long_description=readme(),
    long_description_content_type="text/markdown",
    ext_modules=[
        extension(
            "_native",
            ["native_module", "objects", "maps", "chosen"],
            *("local", "objects", "mapfile", "core"),
        ),
        extension("_nfs", ["nfs_module"], "nfs", "nfs/proto", "core"),
    ],
)
