"""Entries a second of both codecs, a map block at a time.

    make bench BENCH=codec

The digests are random, so that none is the zeros'; every third v1 flag is 0.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from archipmigrate.backend.select import available
from archipmigrate.maps.format.codec import Codec, codec_of
from archipmigrate.maps.format.v0 import FitV0
from archipmigrate.maps.format.v1 import ENTRY
from archipmigrate.maps.format.v2 import BLOCK_ENTRIES

DIGESTS = [random.Random(1).randbytes(32) for _ in range(BLOCK_ENTRIES)]
V0 = b"".join(DIGESTS)
V1 = b"".join(ENTRY.pack(at % 3, digest) for at, digest in enumerate(DIGESTS))


@pytest.fixture(params=["native", "python"])
def codec(request: pytest.FixtureRequest) -> Codec:
    """Each codec in turn."""
    name = str(request.param)
    if name not in available():
        pytest.skip("the C extension is not built")
    return codec_of(name)


def _run(benchmark: BenchmarkFixture, entries: int, work: Callable[[], object]) -> None:
    benchmark(work)
    if benchmark.stats is not None:  # --benchmark-disable
        rate = entries / benchmark.stats.stats.median
        benchmark.extra_info["entries_per_second"] = round(rate)
        print(f"\n{benchmark.name}: {rate:,.0f} entries/s", flush=True)


@pytest.mark.parametrize(("version", "entries"), [(0, V0), (1, V1)], ids=["v0", "v1"])
def bench_codec_convert(
    codec: Codec, version: int, entries: bytes, benchmark: BenchmarkFixture
) -> None:
    """Convert the entries of a block."""
    _run(benchmark, BLOCK_ENTRIES, lambda: codec.convert(version, entries))


def bench_codec_check(codec: Codec, benchmark: BenchmarkFixture) -> None:
    """Check the entries of a good block."""
    block = codec.convert(1, V1)
    _run(benchmark, BLOCK_ENTRIES, lambda: codec.check(block))


def bench_codec_fit(benchmark: BenchmarkFixture) -> None:
    """Count the digests of a Pithos map (there is one twin only)."""
    fit = FitV0()
    _run(benchmark, BLOCK_ENTRIES, lambda: fit.feed(V0))
