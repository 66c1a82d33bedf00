"""Edits judged as one: what a request with a photo and a mask costs, and which ones are refused.

    python bench/edits.py --photos DIR --texts DIR [--count 300]

Harmless: instructions of MagicBrush (`data__magicbrush__train.json`; those with an odd index, which
nothing was tuned on), each with another photograph of `--photos` made 1024 x 1024, without a mask,
with one over the middle and lower part, and with one over the top. Asked for: the requests of
bench/requests (part test, English, nudification), with the same photographs and masks.

Each is judged by the policy that Tutela ships for guarding, from the bytes to the verdict, without
the record. Guards that see the prompt alone can do no better than the line "prompt alone".
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

import request_set
from machine import describe
from photos import photos, resized, spread
from tutela.findings import NUDIFICATION
from tutela.guard.gate import Gate, Operation, Request
from tutela.settings import load

SIDE = 1024
MASKS = {
    "no mask": None,
    "mask over the middle": (256, 384, 768, SIDE),
    "mask over the top": (0, 0, SIDE, 200),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=Path, required=True, help="portraits of adults, JPEG")
    parser.add_argument("--texts", type=Path, required=True, help="folder with edit-magicbrush-ag")
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    print(describe("tutela", "numba", "numpy", "onnxruntime"))
    pictures = [resized(path, SIDE, SIDE) for path in spread(photos(given.photos), given.count)]
    masks = {name: mask(box) for name, box in MASKS.items()}
    harmless = spread(list(instructions(given.texts)), given.count)
    asked = spread(
        [
            request.text
            for request in request_set.grammar("test", "en").expand()
            if request.intent == NUDIFICATION
        ],
        given.count,
    )
    with tempfile.TemporaryDirectory() as folder, Gate(load(folder)) as gate:
        gate.warm()
        print(
            f"{len(pictures)} photographs, detectors: "
            f"{', '.join(one.name for one in gate.screener.panel.all)}"
        )
        for title, texts in (("harmless instructions", harmless), ("requests to refuse", asked)):
            print(f"\n{title}: {len(texts)}")
            show("prompt alone", [Request((text,)) for text in texts], gate)
            for name, drawn in masks.items():
                show(name, list(requests(texts, pictures, drawn)), gate)


def show(name: str, asked: Sequence[Request], gate: Gate) -> None:
    """Judge them, one after the other, and print a line."""
    actions: collections.Counter[str] = collections.Counter()
    spent = []
    for request in asked:
        started = time.perf_counter()
        verdict = gate.judge(request)
        spent.append((time.perf_counter() - started) * 1e3)
        actions[verdict.action] += 1
    refused = len(asked) - actions["allow"]
    spent.sort()
    print(
        f"  {name:<22} refused {refused:>4} ({refused / len(asked):7.2%}), blocked "
        f"{actions['block']:>4};  p50 {statistics.median(spent):6.1f} ms, "
        f"p95 {spent[int(len(spent) * 0.95)]:6.1f} ms"
    )


def requests(
    texts: Sequence[str], pictures: Sequence[bytes], drawn: bytes | None
) -> Iterator[Request]:
    """Each text with a photograph of its own."""
    for number, text in enumerate(texts):
        picture = pictures[number % len(pictures)]
        yield Request((text,), images=(picture,), mask=drawn, operation=Operation.EDIT)


def mask(box: tuple[int, int, int, int] | None) -> bytes | None:
    """A mask as the API wants it: clear where it is to be repainted, PNG."""
    if box is None:
        return None
    picture = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 255))
    ImageDraw.Draw(picture).rectangle(box, fill=(0, 0, 0, 0))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def instructions(folder: Path) -> Iterator[str]:
    """The instructions that nothing was tuned on."""
    path = folder / "edit-magicbrush-ag" / "data__magicbrush__train.json"
    for number, row in enumerate(json.loads(path.read_text("utf-8"))):
        if number % 2:
            yield row["instruction"]


if __name__ == "__main__":
    main()
