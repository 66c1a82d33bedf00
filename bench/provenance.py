"""What is read of provenance: how much of it, and how fast, beside exiftool and plain c2pa-python.

    python bench/provenance.py --c2pa FOLDER [--generated FOLDER] [--photos FOLDER]

`--c2pa` holds the JPEGs of the public C2PA test files (adobe-20220124-*, truepic-20230212-*),
`--generated` pictures made by stable-diffusion.cpp, `--photos` photographs that no model touched.
Prints how each file was read, how many of the made files with generator metadata, how many of the
watermarks that survive what, and what each takes. exiftool, where it is installed, is asked for
the same. Ends with status 1 where a file is read wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import c2pa
import numpy as np
from PIL import Image

import machine
import provenance_files as files
from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance, watermarks
from tutela.findings import Finding

# By the naming of the test files: C claim, A parent, I ingredient, X or E-dat bytes that don't
# match, E-sig a signature, E-uri an assertion, E-clm a missing claim; a leading A or I alone is
# unsigned. An error behind CI is in an ingredient, and known to the claim that was made after it.
FAILS = {
    "E-clm": "ingredient.manifest.missing",
    "E-dat": "assertion.dataHash.mismatch",
    "E-sig": "claimSignature.mismatch",
    "E-uri": "assertion.hashedURI.mismatch",
    "X": "assertion.dataHash.mismatch",
}
EDITS = ("edit_example", "edit.png", "image_edit")


def expected(name: str) -> tuple[str, str, str]:
    """State, signer and a part of the detail that the file of that name must give."""
    code = name.removesuffix(".jpg").split("-", 2)[2]
    if name.startswith("truepic"):
        # Signed by a program of 2022 that left all before the pixels unsigned, which C2PA has
        # since forbidden: the bytes are those that were signed, and the signature is not enough.
        return "invalid", "Truepic", "the signature leaves out too many"
    signer = "C2PA Test Signing Cert"
    if code in ("A", "I"):
        return "", "", ""
    for mark, failure in FAILS.items():
        if code.startswith(mark):
            return "invalid", signer, failure
    return "valid", signer, "an ingredient fails" if "E-sig" in code else "make_test_images"


def main() -> int:
    """Run what the options name."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--c2pa", type=Path)
    parser.add_argument("--generated", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--runs", type=int, default=5, help="times each file is read")
    options = parser.parse_args()
    print(machine.describe("c2pa-python", "pillow", "numpy"), f"c2pa-rs {c2pa.sdk_version()}")
    detector = Provenance()
    detector.prepare(Options())
    wrong = made_files(detector)
    if options.c2pa:
        wrong += test_files(detector, options.c2pa)
    if options.generated:
        wrong += generated(detector, options.generated)
    if options.photos:
        wrong += unmarked(detector, options.photos)
        survival(options.photos)
    if options.c2pa and options.photos:
        costs(detector, options.c2pa, options.photos, options.runs)
    return 1 if wrong else 0


def look(detector: Provenance, data: bytes) -> list[Finding]:
    """The findings of a file."""
    return list(detector.examine(Subject(data=data)))


def test_files(detector: Provenance, folder: Path) -> int:
    """Each public C2PA test file beside what its name stands for."""
    print("\nC2PA test files")
    wrong = 0
    names = sorted(folder.glob("*.jp*g"))
    for path in names:
        state, signer, part = expected(path.name)
        found = [one for one in look(detector, path.read_bytes()) if one.state != "unsigned"]
        right = (
            not found
            if not state
            else (
                len(found) == 1
                and (found[0].state, found[0].signer) == (state, signer)
                and part in found[0].detail
            )
        )
        wrong += not right
        said = found[0].detail if found else "nothing signed"
        print(f"  {'right' if right else 'WRONG':5} {path.stem:42} {state or 'none':8} {said}")
    print(f"  {len(names) - wrong} of {len(names)} read right")
    return wrong


def made_files(detector: Provenance) -> int:
    """Files with the metadata of generators, made from the formats' documentation."""
    print("\nFiles made from the formats' documentation")
    wrong = 0
    peer = Exiftool()
    for title, group in (
        ("generators and editors", files.generators()),
        ("digital source types", files.source_types()),
        ("innocent", files.innocent()),
    ):
        listed = list(group)
        read = 0
        for file in listed:
            found = look(detector, file.data)
            claims = {one.claim for one in found}
            right = claims == (set() if file.claim is None else {file.claim})
            right &= not found or any(file.maker in one.detail for one in found)
            read += right
            if not right:
                print(f"  WRONG {file.name}: {[one.detail for one in found]}")
        told = ""
        if peer.there and title != "innocent":
            seen = sum(peer.sees(file) for file in listed)
            told = f"; exiftool shows what could be read of {seen}, and judges none"
        print(f"  {title}: {read} of {len(listed)} read right{told}")
        wrong += len(listed) - read
    return wrong


class Exiftool:
    """exiftool as a peer: it shows metadata, and leaves to the reader what they mean."""

    there = shutil.which("exiftool") is not None
    _marks = re.compile(
        rb"Steps: \d|class_type|ctype|\"nodes\"|invokeai|sd-metadata|Dream|NovelAI|ooocus|swarm"
        rb"|stable-diffusion|Draw Things|Job ID|Signature: |Firefly|DALL|OpenAI|Google AI|Bing"
        rb"|Ideogram|Stability|Playground|Clean Up|AIGC|ContentProducer|lgorithmicMedia|Synthetic"
        rb"|Postprocess|igitalCapture|igitalArt|igital [Cc]apture|Digital Art|lgorithmic [Mm]edia"
    )

    def sees(self, file: files.File) -> bool:
        """Whether its output has anything in it that tells the maker."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.write_bytes(file.data)
            command = ["exiftool", "-a", "-u", "-j", "-G1", str(path)]
            shown = subprocess.run(command, capture_output=True, check=False).stdout
        return bool(self._marks.search(shown))


def generated(detector: Provenance, folder: Path) -> int:
    """Pictures of stable-diffusion.cpp: all that carry settings must be read."""
    counts: Counter[str] = Counter()
    wrong = 0
    for path in sorted(folder.iterdir()):
        with Image.open(path) as picture:
            settings = "parameters" in picture.info
        found = look(detector, path.read_bytes())
        claims = {one.claim for one in found}
        counts[f"{'with' if settings else 'without'} settings: {claims or 'nothing'}"] += 1
        wrong += settings is not bool(claims & {"generated", "edited"})
    print("\nPictures by stable-diffusion.cpp")
    for name, count in sorted(counts.items()):
        print(f"  {count:3} {name}")
    return wrong


def photographs(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            yield path.read_bytes()


def unmarked(detector: Provenance, folder: Path) -> int:
    """Photographs that no model touched: a claim of generation would be a false alarm."""
    total, alarms, nearest = 0, 0, 0.0
    claims: Counter[str] = Counter()
    for data in photographs(folder):
        total += 1
        found = look(detector, data)
        claims.update(one.claim or "nothing said" for one in found)
        alarms += any(one.claim in ("generated", "edited") for one in found)
        if (top := _top(data)) is not None:
            nearest = max(nearest, _nearest(top))
    print(f"\nPhotographs: {alarms} false alarms of {total}; said: {dict(claims)}")
    print(f"  nearest to a watermark: {nearest:.2f} of the fit that counts as one")
    return alarms


def _top(data: bytes) -> np.ndarray | None:
    """The top of a picture of any format, so wide that a watermark could be in it."""
    with Image.open(io.BytesIO(data)) as picture:
        width = picture.width // 8 * 8
        if width < 256 or picture.height < 64:
            return None
        height = min(picture.height, -(-watermarks.LOOK // width // 8) * 8)
        return np.asarray(picture.convert("RGB").crop((0, 0, width, height)))


def _nearest(top: np.ndarray) -> float:
    most = 0.0
    low = watermarks.halved(top)
    for swapped, levels in watermarks.TRIALS:
        cut = watermarks.blocks(low, swapped=swapped)
        for grey in levels:
            weights = watermarks.votes(cut, grey)
            for _, message, least in watermarks.MESSAGES:
                most = max(most, watermarks.correlation(weights, message) / least)
    return most


MARKS = {
    "Stable Diffusion 1": (0, 256.0, False),
    "Stable Diffusion 2": (1, 256.0, False),
    "Stable Diffusion XL": (2, 1.0, False),
    "Stable Diffusion XL, colours swapped": (2, 1.0, True),
    "FLUX": (3, 1.0, False),
}


def survival(folder: Path, most: int = 12) -> None:
    """How often a watermark is found again after what happens to pictures."""
    sources = []
    for data in photographs(folder):
        with Image.open(io.BytesIO(data)) as picture:
            picture.thumbnail((1024, 1024))
            if min(picture.size) >= 512:
                width, height = (side // 8 * 8 for side in picture.size)
                sources.append(np.asarray(picture.convert("RGB").crop((0, 0, width, height))))
        if len(sources) == most:
            break
    after: dict[str, Callable[[Image.Image], bytes]] = {
        "PNG": lambda picture: _saved(picture, "PNG"),
        "JPEG 98": lambda picture: _saved(picture, "JPEG", 98),
        "JPEG 95": lambda picture: _saved(picture, "JPEG", 95),
        "JPEG 90": lambda picture: _saved(picture, "JPEG", 90),
        "JPEG 80": lambda picture: _saved(picture, "JPEG", 80),
        "reduced": lambda picture: _saved(picture.reduce(2), "PNG"),
        "cropped": lambda picture: _saved(picture.crop((16, 16, *picture.size)), "PNG"),
    }
    print(f"\nWatermarks found again, of {len(sources)} pictures each")
    print(f"  {'':38}" + "".join(f"{name:>9}" for name in after))
    for mark, (place, grey, swapped) in MARKS.items():
        message = [int(bit) for bit in watermarks.MESSAGES[place][1]]
        name = watermarks.MESSAGES[place][0]
        hits = Counter[str]()
        for source in sources:
            marked = Image.fromarray(files.marked(source, message, grey=grey, swapped=swapped))
            for what, make in after.items():
                evidence, _ = watermarks.look(make(marked))
                hits[what] += any(f"of {name}," in one.detail for one in evidence)
        print(f"  {mark:38}" + "".join(f"{hits[what]:>9}" for what in after))


def _saved(picture: Image.Image, kind: str, quality: int | None = None) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **({"quality": quality} if quality else {}))
    return buffer.getvalue()


def costs(detector: Provenance, tests: Path, folder: Path, runs: int) -> None:
    """Milliseconds by kind of file of 2 megapixels, and of the peers on the same."""
    photo = next(data for data in photographs(folder) if _size(data) >= 2_000_000)
    with Image.open(io.BytesIO(photo)) as picture:
        scale = (2_000_000 / (picture.width * picture.height)) ** 0.5
        size = tuple(int(side * scale) // 8 * 8 for side in picture.size)
        picture = picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    jpeg, fine, png = (
        _saved(picture, "JPEG", 80),
        _saved(picture, "JPEG", 95),
        _saved(picture, "PNG"),
    )
    said = files.png({"parameters": files.settings()}, image=picture)
    made = files.action("c2pa.created", "trainedAlgorithmicMedia")
    kinds = {
        "JPEG, quality 80": [jpeg],
        "JPEG, quality 95 (pixels looked at)": [fine],
        "PNG (pixels looked at)": [png],
        "PNG with settings": [said],
        "JPEG with a manifest": [files.signed(made, plain=jpeg)],
        "PNG with a manifest": [files.signed(made, plain=png, kind="PNG")],
        "C2PA test files": [path.read_bytes() for path in sorted(tests.glob("*.jp*g"))],
        "made files": [file.data for file in files.generators()],
    }
    print(f"\nMilliseconds, {size[0]} × {size[1]} but for the last two; wall, processor: p50, p95")
    total: list[float] = []
    for name, listed in kinds.items():
        wall, worked = _timed(lambda data: look(detector, data), listed, runs)
        total += wall
        print(f"  {name:38}" + _spread(wall) + _spread(worked))
        if b"jumdc2pa" in listed[0] or name.startswith("C2PA"):
            wall, worked = _timed(_plain_reader, listed, runs)
            print(f"    {'c2pa-python alone':36}" + _spread(wall) + _spread(worked))
    print(f"  {'all together':38}" + _spread(total))
    if Exiftool.there:
        print(
            f"  {'exiftool, JPEG, with its start':38}" + _spread(_timed(_exiftool, [jpeg], runs)[0])
        )


def _size(data: bytes) -> int:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.width * picture.height


def _plain_reader(data: bytes) -> None:
    try:
        with c2pa.Reader("image/jpeg", io.BytesIO(data)) as reader:
            json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return


def _exiftool(data: bytes) -> None:
    subprocess.run(["exiftool", "-j", "-"], input=data, capture_output=True, check=True)


def _timed(
    work: Callable[[bytes], object], listed: Iterable[bytes], runs: int
) -> tuple[list[float], list[float]]:
    wall, worked = [], []
    for data in listed:
        work(data)
        for _ in range(runs):
            start, used = time.perf_counter(), time.process_time()
            work(data)
            wall.append((time.perf_counter() - start) * 1000)
            worked.append((time.process_time() - used) * 1000)
    return wall, worked


def _spread(values: list[float]) -> str:
    return f" {np.median(values):7.1f} {np.percentile(values, 95):7.1f}"


if __name__ == "__main__":
    sys.exit(main())
