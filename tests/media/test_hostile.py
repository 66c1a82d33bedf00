"""Files that were made to harm: former findings, damaged files by the thousand, bombs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import bombs
import fuzz
import pictures
from tutela import signals
from tutela.errors import Reason, Rejected
from tutela.examine import examine
from tutela.media import Limits, decode

CORPUS = sorted((Path(__file__).parents[1] / "corpus").iterdir())


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_former_findings(path: Path) -> None:
    with pytest.raises(Rejected):
        decode(path.read_bytes())


def test_the_corpus_is_small() -> None:
    assert 0 < sum(path.stat().st_size for path in CORPUS) < 1 << 20


def test_every_seed_of_the_fuzzer_decodes() -> None:
    for kind, files in pictures.seeds().items():
        assert {decode(data).format for data in files} == {kind}


def test_damaged_files_give_rejections_alone() -> None:
    files = pictures.seeds()
    chosen = signals.load(["pdq"])
    decoded = dict.fromkeys(fuzz.FORMATS, 0)
    rejected = dict.fromkeys(fuzz.FORMATS, 0)
    for number in range(4096):
        kind, data = fuzz.mutated(number, 7, files)
        done = examine(data, chosen, Limits())
        (rejected if done.rejected else decoded)[kind] += 1
    # The fuzzer reaches both sides of every decoder, or it proves little.
    assert min(decoded.values()) > 10
    assert min(rejected.values()) > 10


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured and bounded on Linux")
def test_bombs_are_rejected_within_bounds() -> None:
    # Those that take gigabytes of work to make, or their full two seconds, are left to the bench.
    slow = {
        "apng of large frames",
        "gif of 4 000 large frames",
        "webp of many frames",
        "webp large canvas many frames",
        "webp lossless of one colour",
        "png one row",
        "avif grid of many tiles",
    }
    names = [name for name in bombs.BOMBS if name not in slow]
    assert len(names) >= 50
    for name, _, reason, seconds, memory in bombs.run(names):
        assert reason in set(Reason), name
        assert seconds < 2.5, name
        assert memory < 256, name
