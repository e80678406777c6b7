"""Fuzz the NFS client: its C files alone, against a server in the same process.

    python -m tests.fuzz.fuzz SECONDS    libFuzzer (clang 14 or newer), with what is in the corpus

fuzz_nfs.c is the target, fuzz_server.h describes the server. Inputs that reach new code are added
to the corpus; an input that breaks something stays in the working directory.

The corpus is text, one line an input: its name, and its bytes in hexadecimal. Names that are words
are of bugs that were fixed; those with numbers were found by libFuzzer, and may be replaced.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CORPUS = HERE / "corpus.txt"
MOST_BYTES = 600  # of an input


def build(program: Path, compiler: str, *flags: str) -> None:
    """Compile the target, with every access checked."""
    files = [
        f"tests/fuzz/fuzz_{name}.c"
        for name in ("nfs", "nfs_checks", "network", "server", "session")
    ]
    for folder in ("nfs", "nfs/proto", "core"):
        files += sorted(map(str, (ROOT / "native" / folder).glob("*.c")))
    always = ["-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Inative", "-Itests/fuzz"]
    always += ["-include", "tests/fuzz/fuzz_fakes.h", "-fno-sanitize-recover=all"]
    subprocess.run([compiler, *always, *flags, "-o", program, *files], check=True, cwd=ROOT)


def unpack(directory: Path) -> list[Path]:
    """Write the inputs of the corpus into files."""
    paths = []
    for line in CORPUS.read_text().splitlines():
        name, _, data = line.partition(" ")
        paths.append(directory / name)
        paths[-1].write_bytes(bytes.fromhex(data))
    return paths


def pack(directory: Path) -> None:
    """Make the corpus of the named inputs that were in it, and those in the directory."""
    lines = [line for line in CORPUS.read_text().splitlines() if "-" in line]
    known = {line.partition(" ")[2] for line in lines}
    found = {path.read_bytes() for path in directory.iterdir()}
    inputs = sorted(data for data in found if data.hex() not in known)
    lines += [f"{hashlib.sha256(data).hexdigest()[:12]} {data.hex()}" for data in inputs]
    CORPUS.write_text("".join(f"{line}\n" for line in lines))


def main(seconds: int) -> int:
    """Fuzz for *seconds*; return libFuzzer's status."""
    with tempfile.TemporaryDirectory() as made:
        program, found, small = (Path(made) / name for name in ("fuzz", "found", "small"))
        found.mkdir()
        small.mkdir()
        build(program, "clang", "-DLIBFUZZER", "-fsanitize=fuzzer,address,undefined")
        unpack(found)
        limits = ["-rss_limit_mb=512", "-malloc_limit_mb=64", "-timeout=10"]
        limits += [f"-max_len={MOST_BYTES}"]
        until = [f"-max_total_time={seconds}", "-print_final_stats=1"]
        done = subprocess.run([program, *limits, *until, found], check=False)
        if done.returncode == 0:  # by code that is reached, not by how often: few inputs are to do
            merge = ["-merge=1", "-use_counters=0"]
            subprocess.run([program, *limits, *merge, small, found], check=True)
            pack(small)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
