"""Places of a photo that do not share its past: what was pasted or painted in after it was saved.

A JPEG rounds its frequencies to multiples of a step. Saved again with finer steps, or as a PNG, the
picture still bears the first: sizes that were multiples of it are common, others rare. What was put
in between does not (Lin et al., "Fast, automatic and fine-grained tampered JPEG image detection
via DCT coefficient analysis", 2009; Bianchi and Piva, "Image forgery localization via block-grained
analysis of JPEG artifacts", 2012). Reducing a photo or saving it coarser wipes this out: then
nothing is said. That nothing is found never speaks for a picture.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import PngImagePlugin

from tutela.detectors import Options, Sight, Subject
from tutela.detectors import forensics_kernels as kernels
from tutela.findings import FORENSICS as KIND
from tutela.findings import Finding
from tutela.media import survey
from tutela.media.types import MediaFacts

__all__ = ["FORENSICS", "Forensics", "Traces", "examined", "likelihood", "steps", "traces"]

MOST_PIXELS = {"jpeg": 16_000_000, "png": 8_000_000}
"""Of the formats that are looked at: a PNG takes twice the memory."""
LEAST_SIDE = 256
READ = 4_000_000
"""Pixels above which not every row of blocks is read."""
GRID = 13
"""Cells along the longer side of the map, at most: it has to stay within 200 characters."""
CELL = 64
"""Pixels along a side of a cell, at least."""
INFORMATIVE = 12
"""Blocks that tell something, from which a cell does."""
CELLS = 6
"""Cells that tell something, from which the picture does."""
QUANTILE, PAST = 1 / 3, -0.15
"""The past counts as known where so many cells bear it, by so many nats a block."""
EARLIER = np.arange(2.0, 41.0)
"""Steps that an earlier quantisation may have had."""
GAIN, COUNT = 0.02, 300
"""Nats a coefficient by which it must explain the sizes of one frequency, and how many of them."""
NEAR = 0.6
"""Sizes below this share of the earlier step say little: noise of rounding is among them."""
ROUNDING = 0.5
"""Standard deviation of a coefficient, from rounding pixels to whole levels."""
FINE, TOP, MULTIPLES = 0.25, 240.0, 200
OTHER_GRID = 0.035
"""How much stronger the lines of an earlier grid are than all others, in shares of the mean."""
SHOWN = 0.75
"""Likelihood from which there is a finding."""

Rgb = NDArray[np.uint8]
Steps = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traces:
    """What the cells of a picture tell, in the orientation in which it is stored."""

    odds: NDArray[np.float64]
    """(rows, columns): nats a block by which no earlier quantisation is likelier; NaN where there
    is nothing to tell by."""
    offset: tuple[int, int]
    """Where the first block of the earlier save starts, pixels from the top and from the left."""
    known: bool
    """Whether most of the picture was quantised earlier, so that the rest stands out."""

    @property
    def score(self) -> float:
        """The odds of the second unlikeliest cell: one alone is chance. 0 if none stands out."""
        told = np.sort(self.odds[np.isfinite(self.odds)])
        return max(0.0, float(told[-2])) if self.known else 0.0

    def heat(self, orientation: int = 1) -> str:
        """The map of `Finding.heat`, turned upright; `orientation` as in EXIF."""
        upright = _turned(self.odds, orientation)
        return "/".join(
            "".join("-" if math.isnan(odds) else _digit(odds) for odds in row) for row in upright
        )


def _digit(odds: float) -> str:
    return str(min(9, max(0, round(3 * odds))))


def traces(rgb: Rgb, quantised: Steps | None) -> Traces:
    """Look for an earlier save in sRGB pixels, (height, width, 3), as they are stored.

    `quantised` are the steps (8, 8) of the JPEG that the pixels come from, or None where they come
    from a lossless file. Each side has to be `LEAST_SIDE` pixels at least.
    """
    height, width = rgb.shape[:2]
    # Writable, too: loops are compiled for one kind of array alone.
    flat = np.require(rgb, requirements=("C", "W")).reshape(height, 3 * width)
    luma = np.empty((height, width), np.uint8)
    kernels.grey(flat, luma)
    stride = math.ceil(height * width / READ)
    if quantised is not None:
        found = _saved(flat, luma, (0, 0), quantised, ROUNDING, stride)
        if found.known:
            return found
    offset = _offset(luma, stride, own_grid=quantised is not None)
    if offset is None:
        return Traces(np.full(_grid(height, width), math.nan), (0, 0), False)
    # The last save was on another grid: there it only adds noise.
    blur = 0.0 if quantised is None else float(quantised[:3, :3].mean()) / math.sqrt(12)
    return _saved(flat, luma, offset, np.ones((8, 8)), math.hypot(ROUNDING, blur), stride)


def _saved(
    flat: Rgb,
    luma: NDArray[np.uint8],
    offset: tuple[int, int],
    steps: Steps,
    noise: float,
    stride: int,
) -> Traces:
    """What an earlier save whose blocks start at `offset` explains."""
    height, width = luma.shape
    sizes = _frequencies(luma, offset, stride)
    # Half a block off, no quantisation shows: the sizes there are those of the picture itself.
    free = _frequencies(luma, ((offset[0] + 4) % 8, (offset[1] + 4) % 8), stride)
    bands, columns = sizes.shape[1:]
    skip = np.zeros((-(-height // 8), columns), np.uint8)[: (height - offset[0]) // 8]
    kernels.clipped(flat, *offset, skip)
    skip = np.ascontiguousarray(skip[::stride])
    told = np.zeros((bands, columns), np.float32)
    informative = np.zeros((bands, columns), np.uint8)
    for plane, (down, across) in enumerate(kernels.KEPT):
        step = float(steps[down, across])
        seen = np.empty(min(int(TOP / step), MULTIPLES) + 2, np.int64)
        kernels.count(sizes[plane], step, skip, seen)
        seen = seen[:-1]
        if seen[1:].sum() < COUNT:
            continue
        earlier = EARLIER[step != EARLIER]
        gains, odds = np.empty(len(earlier)), np.empty(len(seen))
        best = kernels.explain(seen, _shares(free[plane]), FINE, step, noise, earlier, gains, odds)
        if gains[best] >= GAIN:
            least = max(1, math.ceil(NEAR * earlier[best] / step))
            kernels.gather(sizes[plane], step, skip, odds, least, told, informative)
    return _traces(told, informative, (height, width), offset, stride)


def _traces(
    told: NDArray[np.float32],
    informative: NDArray[np.uint8],
    size: tuple[int, int],
    offset: tuple[int, int],
    stride: int,
) -> Traces:
    rows, columns = _grid(*size)
    bands, blocks = told.shape
    row = (np.arange(bands) * stride * 8 + offset[0] + 4) * rows // size[0]
    column = (np.arange(blocks) * 8 + offset[1] + 4) * columns // size[1]
    where = (row[:, None] * columns + column[None]).ravel()
    total = np.bincount(where, told.ravel(), rows * columns)
    number = np.bincount(where, informative.ravel() > 0, rows * columns)
    enough = number >= INFORMATIVE
    odds = np.where(enough, total / np.maximum(number, 1), math.nan).reshape(rows, columns)
    known = enough.sum() >= CELLS and np.quantile(odds[np.isfinite(odds)], QUANTILE) <= PAST
    return Traces(odds, offset, bool(known))


def _frequencies(
    luma: NDArray[np.uint8], offset: tuple[int, int], stride: int
) -> NDArray[np.float32]:
    height, width = luma.shape
    bands, blocks = (height - offset[0]) // 8, (width - offset[1]) // 8
    sizes = np.empty((len(kernels.KEPT), -(-bands // stride), blocks), np.float32)
    kernels.frequencies(luma, *offset, stride, sizes)
    return sizes


def _shares(sizes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cumulated shares of sizes in bins of `FINE`, smoothed over a few."""
    bins = int(TOP / FINE)
    placed = np.minimum((sizes.ravel() * np.float32(1 / FINE)).astype(np.int32), bins)
    counts = np.bincount(placed, minlength=bins + 1)[:bins].astype(np.float64)
    reach = 8
    padded = np.concatenate([[0.0], counts[reach:0:-1], counts, np.zeros(reach)]).cumsum()
    wide = 2 * reach + 1
    smooth = (padded[wide:] - padded[:-wide]) / wide + 1e-3
    shares: NDArray[np.float64] = np.concatenate([[0.0], smooth.cumsum()])
    shares /= smooth.sum()
    return shares


def _offset(luma: NDArray[np.uint8], stride: int, *, own_grid: bool) -> tuple[int, int] | None:
    """Where the blocks of an earlier save start, if its lines are seen in both directions."""
    sums = np.empty((8, 8), np.int64)
    kernels.crosses(luma, stride, sums)
    if not sums.any():
        return None
    offset = []
    for axis in (1, 0):
        line = sums.sum(axis) / sums.sum() * 8
        # What a file's own grid does is the same from either side of a block.
        usual = np.append(line[6::-1], line[7]) if own_grid else np.median(line)
        line = line - usual
        strongest = int(line.argmax())
        if line[strongest] < OTHER_GRID:
            return None
        offset.append((strongest + 1) % 8)
    return offset[0], offset[1]


def _grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the map: cells as square as may be, that divide the picture evenly."""
    cell = max(CELL, max(height, width) / GRID)
    return max(1, int(height / cell)), max(1, int(width / cell))


def _turned(grid: NDArray[np.float64], orientation: int) -> NDArray[np.float64]:
    """A grid as stored, turned upright as EXIF says."""
    if orientation in (5, 6, 7, 8):
        grid = grid.T
    down = orientation in (3, 4, 7, 8)
    across = orientation in (2, 3, 6, 7)
    return grid[:: -1 if down else 1, :: -1 if across else 1]


def steps(data: bytes) -> Steps | None:
    """The luma quantisation steps (8, 8) of a JPEG file; None where they are not found.

    Reads the segments up to the first scan (ITU-T T.81, B.2).
    """
    tables: dict[int, Steps] = {}
    chosen: int | None = None
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
            continue
        marker = data[at + 1]
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        if marker in (0xDA, 0xD9):
            break
        length = int.from_bytes(data[at + 2 : at + 4])
        body = data[at + 4 : at + 2 + length]
        if marker == 0xDB:
            tables |= _tables(body)
        elif 0xC0 <= marker <= 0xC2 and len(body) >= 9:
            chosen = body[8]
        at += 2 + length
    return tables.get(chosen) if chosen is not None else None


def _tables(body: bytes) -> dict[int, Steps]:
    found = {}
    while len(body) >= 65:
        wide = 2 if body[0] >> 4 else 1
        values = body[1 : 1 + 64 * wide]
        if len(values) == 64 * wide:
            table = np.frombuffer(values, ">u2" if wide == 2 else "u1").astype(np.float64)
            if (table > 0).all():
                natural = np.empty(64)
                natural[_ZIGZAG] = table
                found[body[0] & 15] = natural.reshape(8, 8)
        body = body[1 + 64 * wide :]
    return found


_ZIGZAG = np.array(
    sorted(range(64), key=lambda n: (s := n // 8 + n % 8, n // 8 if s % 2 else n % 8))
)


def examined(data: bytes, kind: str) -> tuple[Traces, int] | None:
    """The traces in a JPEG or PNG file, and its EXIF orientation; None if it is not for this.

    Raises what decoders raise for damaged files.
    """
    if kind == "jpeg":
        space = simplejpeg.decode_jpeg_header(data)[2]
        quantised = steps(data)
        if quantised is None or space not in ("YCbCr", "Gray"):
            return None
        rgb = simplejpeg.decode_jpeg(data, strict=False)
        return traces(rgb, quantised), survey.jpeg(data).orientation
    with PngImagePlugin.PngImageFile(io.BytesIO(data)) as image:
        if image.mode not in ("RGB", "L", "P") or "transparency" in image.info:
            return None
        colours = image if image.mode == "RGB" else image.convert("RGB")
        return traces(np.array(colours), None), 1


@cache
def _table() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    text = files("tutela.detectors").joinpath("data/synthetic-forensics.json").read_text("utf-8")
    points = np.array(json.loads(text)["points"])
    return points[:, 0], points[:, 1]


def likelihood(score: float) -> float:
    """How likely a picture of that score was altered in one place, were half of all so altered."""
    return float(np.interp(score, *_table()))


@dataclass(frozen=True, slots=True)
class Forensics:
    """Finds a region of a photo that lacks the earlier save that the rest bears."""

    name: str = "forensics"
    version: str = "1"
    kinds: frozenset[str] = frozenset({KIND})
    looks_at: frozenset[Sight] = frozenset({Sight.BYTES, Sight.MEDIA})
    cost: float = 25.0

    def prepare(self, options: Options) -> None:
        """Read the table; run every loop once, as none can be loaded in the sandbox later."""
        del options
        _table()
        noise = np.random.default_rng(0).integers(64, 192, (LEAST_SIDE, LEAST_SIDE, 3), np.uint8)
        once = simplejpeg.decode_jpeg(simplejpeg.encode_jpeg(noise, 50))
        examined(simplejpeg.encode_jpeg(once, 95), "jpeg")
        traces(once[3:, 5:], None)

    def applies(self, facts: MediaFacts) -> bool:
        """Still pictures of a format and size that can bear traces."""
        most = MOST_PIXELS.get(facts.format, 0)
        if facts.frame_count != 1 or min(facts.width, facts.height) < LEAST_SIDE:
            return False
        return facts.width * facts.height <= most

    def examine(self, subject: Subject) -> Sequence[Finding]:
        """One finding with a map if a region stands out."""
        media = subject.media
        if media is None or subject.data is None:
            return ()
        found = examined(subject.data, media.format)
        if found is None:
            return ()
        told, orientation = found
        likely = likelihood(told.score)
        if likely < SHOWN:
            return ()
        return (
            Finding(
                KIND,
                self.name,
                self.version,
                score=round(told.score, 3),
                likelihood=round(likely, 4),
                detail="a region lacks the earlier JPEG save that the rest of the picture bears",
                heat=told.heat(orientation),
            ),
        )


FORENSICS = Forensics()
