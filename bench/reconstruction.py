"""What could be had of protected photographs from what is stored of them.

    python bench/reconstruction.py --photos DIR [--targets N] [--show FILE ...]
                                   [--picture FILE.png]

Some of the photographs are protected in a database of this program's own, which is then looked at
as an attacker would: the database alone; keyed fingerprints that leaked from a process's memory;
the database with its secret. In the last case grey pictures are reconstructed and compared with
the photographs, beside blurred originals and other photographs as yardsticks: by structural
similarity (Wang et al., 2004), by correlation, and by whether the reconstruction is nearer to its
own photograph than to all other targets. Every picture is given the mean and the standard deviation
of the original first, in the attacker's favour.

Two attacks reconstruct patches: `nearest` takes the pixels of the most similar patches of other
photographs; `linear` those that a linear map, fitted to the same patches, expects for the bits.
Their gradients are laid at place and scale, and the picture whose gradients come nearest is solved
for (Pérez et al., 2003). Photographs that resemble a target give no patches. Trained networks do
better, so both are lower bounds. FILEs are reconstructed for the picture alone. All happens with
photographs that the caller has; nothing here opens a database that exists. Needs scikit-image.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import sparse
from scipy.optimize import linear_sum_assignment, quadratic_assignment
from scipy.sparse.linalg import spsolve
from skimage.metrics import structural_similarity
from sqlalchemy import select

from machine import describe
from photos import photos, spread
from tutela.banks.protect import LEAST, Protection, keyed
from tutela.media import Limits, decode
from tutela.signals import derivation_kernels
from tutela.signals.base import Fingerprint
from tutela.signals.derivation import compare
from tutela.signals.local import (
    DESCRIPTOR,
    HEADER,
    KEPT,
    LOCAL,
    PLACE,
    WIDTH,
    Features,
    extract,
    turned,
)
from tutela.store import Store
from tutela.store.secret import NONCE, Keyring, Secret
from tutela.store.tables import entries, sealed

Grey = NDArray[np.float32]

SIDE = 256
"""Long side of a reconstruction, pixels."""
DRAWN, GREYS = 200, 32
"""Long side of each picture in the drawing, pixels; its shades."""
GRAIN = 16
"""Samples a side of a patch that is learned from, over the width that its bits describe."""
NEAREST = 5
"""Patches that `nearest` averages."""
RIDGE = 30.0
"""What the fit of the linear map adds to each bit's square: it keeps the weights small."""
TAG = 16
"""Bytes that AES-GCM adds to what it encrypts."""
KNOWN = (4, 8, 12, 16, 20, 24, 32, 48, 64, 128, 440)
"""Known patches that the isometry is solved from."""
LEAKED = (5, 10, 25, 50, 100)
"""Photos whose keyed fingerprints it is solved from, with none of them known."""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph and what a deployment would keep of it."""

    path: Path
    luma: NDArray[np.uint8]
    """As it is described: reduced."""
    features: Features


def load(path: Path) -> Photo:
    media = decode(path.read_bytes(), Limits(), detail=LOCAL.detail)
    (made,) = LOCAL.fingerprint(b"", replace(media, frames=media.frames[:1]))
    features = Features.from_bytes(made.value)
    size = features.width, features.height
    small = Image.fromarray(media.frames[0].luma).resize(size, Image.Resampling.BILINEAR)
    return Photo(path, np.asarray(small), features)


# The database alone, and what leaks from memory


def database_alone(targets: Sequence[Photo]) -> None:
    """Protect photographs, then read the tables as they lie on the disk."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/tutela.db")
        keyring = Keyring(store, Path(folder) / "secret.key")
        protection = Protection(store, keyring)
        for number, photo in enumerate(targets):
            fingerprint = Fingerprint(LOCAL.name, photo.features.to_bytes(), 100)
            protection.add("first", [fingerprint], case=f"case {number % 3}")
            protection.add("second", [fingerprint], case=f"case {number % 3}")
            protection.add("second", [fingerprint], case=f"another {number}")
        with store.read() as connection:
            rows = connection.execute(
                select(entries, sealed.c.body, sealed.c.case_digest).join(
                    sealed, sealed.c.entry_id == entries.c.id
                )
            ).all()
        store.close()
        held = b"".join(path.read_bytes() for path in Path(folder).glob("tutela.db*"))
    secret = Secret(bytes(32))
    plain = [photo.features.first(KEPT) for photo in targets]
    counts = [
        (len(row.body) - NONCE - TAG - HEADER.size) // (PLACE + DESCRIPTOR) for row in rows[::3]
    ]
    body = b"".join(row.body for row in rows)
    print("\nthe database alone")
    right = sum(map(int.__eq__, counts, map(len, plain)))
    said("patches of a photo, from its size", f"right for {right} of {len(plain)}")
    packed = len(zlib.compress(body, 9)) / len(body)
    said("size of all sealed bodies once compressed", f"{100 * packed:.2f} %")
    pieces = [piece.tobytes() for one in plain for piece in (*one.descriptors, one.places)]
    moved = [row.tobytes() for one in plain for row in keyed(secret, one).descriptors]
    found = sum(piece in held for piece in pieces + moved)
    said("descriptors and lists of places found in it", f"{found} of {len(pieces + moved):,}")
    first, second, another = (row.value for row in rows[:3])
    said("a photo seen to be in two banks, for one case", "yes" if first == second else "no")
    said("a photo seen to be in two cases", "yes" if another == second else "no")
    digests = {row.case_digest for row in rows}
    said(
        "photos of one case seen to be together", "yes" if len(digests) == 3 + len(plain) else "no"
    )
    bodies = {row.body for row in rows}
    said("sealed bodies that are equal", f"{len(rows) - len(bodies)}")


def said(what: str, value: str) -> None:
    print(f"  {what:<58}{value:>16}")


def without_secret(targets: Sequence[Photo], resaved: Sequence[Features]) -> None:
    """What keyed fingerprints tell someone who has read them in memory."""
    print("\nkeyed fingerprints without the secret")
    secret = Secret(bytes(range(32)))
    held = [keyed(secret, photo.features.first(KEPT)) for photo in targets]
    right = []
    for number, asked in enumerate(resaved):
        alike = [alike_places(asked, one) for one in held]
        right.append(int(np.argmax(alike)) == number)
    said("re-saved photo told by its places among all targets", f"{sum(right)} of {len(right)}")
    print(f"  {'patches of one known photo':<34}{'bits of the isometry solved, median':>40}")
    for count in KNOWN:
        shares = [
            solved(photo.features.first(count).descriptors, one.first(count).descriptors, secret)
            for photo, one in zip(targets, held, strict=True)
        ]
        print(f"  {count:<34}{100 * statistics.median(shares):>38.1f} %")


def alike_places(asked: Features, held: Features) -> float:
    """Share of the held places that the asked picture has too, within a cell of the coding."""
    mine, theirs = asked.places.astype(int), held.places.astype(int)
    apart = np.abs(theirs[:, None] - mine[None]).max(2)
    return float((apart.min(1) <= 1).mean())


def from_statistics(others: Sequence[Photo]) -> None:
    """Solve the isometry with no known photo: from how bits go together in public photographs.

    Correlations of bits are the same, keyed or not, but for order and signs. Matching the two
    matrices gives the order (Vogelstein et al., 2015, from SciPy), the leading eigenvector of their
    product the signs: but for one sign of each family of bits that mirroring, flipping and
    inverting a picture treat alike, which is 2 ** 8 to try.
    """
    secret = Secret(bytes(range(32)))
    leaked = spread(list(others), LEAKED[-1])
    public = [
        one for one in others if not any(one is a for a in leaked) and not resembling(one, leaked)
    ]
    families = _families(leaked[0])
    place_of = np.argsort(_images_of_bits(secret))
    mask = np.unpackbits(secret.keyed(np.zeros((1, DESCRIPTOR), np.uint8)))
    known = _together([photo.features for photo in public])
    print(f"  {f'photos leaked; {len(public)} others known':<34}{'order solved':>20}{'mask':>20}")
    for count in LEAKED:
        held = [keyed(secret, one.features.first(KEPT)) for one in spread(leaked, count)]
        seen = _together(held)
        profiles = [np.sort(np.abs(one), axis=1) for one in (known, seen)]
        apart = ((profiles[0][:, None] - profiles[1][None]) ** 2).sum(2)
        start = np.zeros((256, 256))
        start[np.arange(256), linear_sum_assignment(apart)[1]] = 0.5
        options = {"maximize": True, "P0": start + 0.5 / 256, "maxiter": 100}
        order = quadratic_assignment(np.abs(known), np.abs(seen), options=options).col_ind
        both = known * seen[np.ix_(order, order)]
        right = 0
        for family in np.unique(families):
            own = np.flatnonzero(families == family)
            signs = np.linalg.eigh(both[np.ix_(own, own)])[1][:, -1] < 0
            fits = (signs == mask[place_of[own]]) & (order[own] == place_of[own])
            other = (signs != mask[place_of[own]]) & (order[own] == place_of[own])
            right += max(fits.sum(), other.sum())
        share = 100 * float((order == place_of).mean())
        print(f"  {count:<34}{share:>18.1f} %{100 * right / 256:>18.1f} %")


def _together(photos_: Sequence[Features]) -> NDArray[np.float64]:
    """Correlations of the bits of all patches, without the diagonal."""
    rows = np.concatenate([np.unpackbits(one.descriptors, axis=1) for one in photos_])
    together: NDArray[np.float64] = np.corrcoef(rows.T.astype(np.float32))
    np.fill_diagonal(together, 0)
    return together


def _images_of_bits(secret: Secret) -> NDArray[np.intp]:
    """Of each keyed bit, the bit that it is."""
    ones = np.packbits(np.eye(256, dtype=np.uint8), axis=1)
    moved = np.unpackbits(secret.keyed(ones) ^ secret.keyed(np.zeros_like(ones)), axis=1)
    return moved.argmax(0)


def _families(photo: Photo) -> NDArray[np.intp]:
    """Bits by whether mirroring, flipping and inverting a picture change them: eight families."""
    nothing = Features(1, 1, np.zeros((1, PLACE), np.uint8), np.zeros((1, DESCRIPTOR), np.uint8))
    mirrored, flipped = (
        np.unpackbits(turned(nothing, variant).descriptors) for variant in ("mirrored", "flipped")
    )
    own, negative = extract(photo.luma), extract(255 - photo.luma)
    pairs = {place.tobytes(): row for place, row in zip(own.places, own.descriptors, strict=True)}
    changes = [
        np.unpackbits(row ^ pairs[place.tobytes()])
        for place, row in zip(negative.places, negative.descriptors, strict=True)
        if place.tobytes() in pairs
    ]
    inverted = np.mean(changes, 0) > 0.5
    return mirrored + 2 * flipped.astype(np.intp) + 4 * inverted


def solved(plain: NDArray[np.uint8], moved: NDArray[np.uint8], secret: Secret) -> float:
    """Share of the 256 bits whose place and mask follow from known patches in both forms.

    A bit's values over the known patches are a word; so are the keyed bit's, inverted if it is
    masked. Words that no other bit has, inverted or not, name their bit.
    """
    told = np.unpackbits(plain, axis=1).T
    seen = np.unpackbits(moved, axis=1).T
    names: dict[bytes, list[int]] = {}
    for place, word in enumerate(told):
        names.setdefault((word ^ word[0]).tobytes(), []).append(place)
    guessed = np.full(256, -1)
    masked = np.zeros(256, np.uint8)
    for place, word in enumerate(seen):
        origin = names.get((word ^ word[0]).tobytes(), [])
        if len(origin) == 1:
            guessed[place] = origin[0]
            masked[place] = told[origin[0], 0] ^ word[0]
    # Tried on what was not used to solve it.
    rng = np.random.default_rng(1)
    fresh = rng.integers(0, 256, (64, DESCRIPTOR), np.uint8)
    moves = np.unpackbits(secret.keyed(fresh), axis=1)
    bits = np.unpackbits(fresh, axis=1)
    right = (bits[:, guessed] ^ masked == moves).all(0) & (guessed >= 0)
    return float(right.mean())


# Database and secret: learning from other photographs


@dataclass(frozen=True, slots=True)
class Learned:
    """Patches of other photographs: bits, pixels, and the linear map from one to the other."""

    words: NDArray[np.uint64]
    pixels: NDArray[np.float16]
    """(n, GRAIN²), each with mean 0."""
    weights: Grey
    """(257, GRAIN²)."""

    def linear(self, features: Features) -> Grey:
        signs = _signs(features.descriptors)
        return (signs @ self.weights).reshape(-1, GRAIN, GRAIN)

    def nearest(self, features: Features) -> Grey:
        asked = np.ascontiguousarray(features.descriptors).view(np.uint64)
        pairs = np.empty((len(asked) * NEAREST, 3), np.int32)
        count = derivation_kernels.nearest(asked, self.words, 256, NEAREST, pairs)
        found = self.pixels[pairs[:count, 1]].astype(np.float32)
        return found.reshape(len(asked), NEAREST, -1).mean(1).reshape(-1, GRAIN, GRAIN)


def _signs(descriptors: NDArray[np.uint8]) -> Grey:
    bits = np.unpackbits(descriptors, axis=1).astype(np.float32)
    return np.column_stack([2 * bits - 1, np.ones(len(bits), np.float32)])


def learn(others: Sequence[Photo]) -> Learned:
    pixels = [_cut(photo) for photo in others]
    rows = [photo.features.descriptors for photo in others]
    gram = np.zeros((257, 257))
    product = np.zeros((257, GRAIN * GRAIN))
    for some, bits in zip(pixels, rows, strict=True):
        signs = _signs(bits)
        gram += signs.T @ signs
        product += signs.T @ some.astype(np.float32)
    weights = np.linalg.solve(gram + RIDGE * np.eye(257), product).astype(np.float32)
    words = np.ascontiguousarray(np.concatenate(rows)).view(np.uint64)
    return Learned(words, np.concatenate(pixels), weights)


def _cut(photo: Photo) -> NDArray[np.float16]:
    """The pixels of each patch, reduced, with mean 0."""
    margin = max(photo.luma.shape) // 3
    around = Image.fromarray(np.pad(photo.luma, margin, "edge")).convert("F")
    out = np.empty((len(photo.features), GRAIN, GRAIN), np.float32)
    for number, (x, y, scale) in enumerate(photo.features.points().astype(float)):
        half = WIDTH * scale / 2
        box = (x + margin - half, y + margin - half, x + margin + half, y + margin + half)
        small = around.resize((GRAIN, GRAIN), Image.Resampling.BILINEAR, box=box)
        out[number] = np.asarray(small)
    out -= out.mean((1, 2), keepdims=True)
    return out.reshape(-1, GRAIN * GRAIN).astype(np.float16)


def resembling(asked: Photo, targets: Sequence[Photo]) -> bool:
    """Whether a photograph shows, as far as is seen, any of the targets."""
    return any(compare(asked.features, one.features) is not None for one in targets)


# Database and secret: laying patches


def laid(features: Features, patches: Grey) -> Grey:
    """The grey picture, long side SIDE, whose gradients are nearest to those of all patches."""
    factor = SIDE / max(features.width, features.height)
    width, height = round(features.width * factor), round(features.height * factor)
    known, down, across = np.zeros((3, height, width))
    for patch, (x, y, scale) in zip(patches, features.points() * factor, strict=True):
        side = max(3, round(float(WIDTH * scale)))
        left, top = round(float(x) - side / 2), round(float(y) - side / 2)
        grown = np.asarray(
            Image.fromarray(patch).resize((side, side), Image.Resampling.BILINEAR), np.float64
        )
        samples = (np.arange(side) + 0.5) / side * 2 - 1
        window = np.exp(-(samples**2) / (2 * 0.4**2))
        # Small patches know better.
        weight = np.outer(window, window) / side**2
        rows = slice(max(0, top), min(height, top + side))
        columns = slice(max(0, left), min(width, left + side))
        inside = (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue
        slope_down = np.diff(grown, axis=0, append=grown[-1:])
        slope_across = np.diff(grown, axis=1, append=grown[:, -1:])
        known[rows, columns] += weight[inside]
        down[rows, columns] += (weight * slope_down)[inside]
        across[rows, columns] += (weight * slope_across)[inside]
    sure = np.maximum(known, 1e-12)
    return _solved(down / sure, across / sure, known / known.max())


def _solved(down: Grey, across: Grey, weight: Grey) -> Grey:
    """The picture of given gradients, by weighted least squares; flat where nothing is known."""
    height, width = weight.shape
    number = np.arange(height * width).reshape(height, width)
    trust = weight**0.5 + 1e-3
    first = np.concatenate([number[:-1].ravel(), number[:, :-1].ravel()])
    second = np.concatenate([number[1:].ravel(), number[:, 1:].ravel()])
    slope = np.concatenate([down[:-1].ravel(), across[:, :-1].ravel()])
    share = np.concatenate([trust[:-1].ravel(), trust[:, :-1].ravel()])
    n = height * width
    laplacian = sparse.coo_matrix(
        (
            np.concatenate([share, share, -share, -share]),
            (
                np.concatenate([first, second, first, second]),
                np.concatenate([first, second, second, first]),
            ),
        ),
        (n, n),
    ).tocsc()
    pull = np.bincount(second, share * slope, n) - np.bincount(first, share * slope, n)
    solved: Grey = spsolve(laplacian + 1e-6 * sparse.identity(n, format="csc"), pull)
    return solved.reshape(height, width).astype(np.float32)


def places_drawn(features: Features) -> Grey:
    """What places and scales alone show: where there is detail, and how fine."""
    factor = SIDE / max(features.width, features.height)
    width, height = round(features.width * factor), round(features.height * factor)
    y, x = np.mgrid[:height, :width]
    picture = np.zeros((height, width), np.float32)
    for at_x, at_y, scale in features.points() * factor:
        apart = (x - at_x) ** 2 + (y - at_y) ** 2
        picture += np.exp(-apart / (2 * (2 * scale) ** 2)) / scale
    return picture


# What is printed and drawn


def sized(picture: Grey, side: int) -> Grey:
    small = Image.fromarray(picture.astype(np.float32))
    return np.asarray(small.resize((side, side), Image.Resampling.BOX), np.float32)


def fitted(picture: Grey, original: Grey) -> Grey:
    """With the original's mean and standard deviation."""
    spread_ = float(picture.std()) or 1.0
    return (picture - picture.mean()) * (original.std() / spread_) + original.mean()


def similarity(picture: Grey, original: Grey, side: int) -> tuple[float, float]:
    """Structural similarity and correlation, both pictures at `side` × `side`."""
    true = sized(original, side)
    shown = np.clip(fitted(sized(picture, side), true), 0, 255)
    alike = structural_similarity(
        true, shown, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(alike), float(np.corrcoef(true.ravel(), shown.ravel())[0, 1])


def thumbnail(original: Grey, side: int) -> Grey:
    """The original through a thumbnail with so many pixels on its long side."""
    image = Image.fromarray(original)
    factor = side / max(image.size)
    small = image.resize(
        (max(1, round(image.width * factor)), max(1, round(image.height * factor))),
        Image.Resampling.BOX,
    )
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC), np.float32)


def measured(targets: Sequence[Photo], learned: Learned) -> None:
    originals = [photo.luma.astype(np.float32) for photo in targets]
    kept = [photo.features.first(KEPT) for photo in targets]
    secret = Secret(bytes(range(32)))
    made: dict[str, list[Grey]] = {
        "another photograph": [*originals[1:], originals[0]],
        "places alone": [places_drawn(one) for one in kept],
        "keyed bits read as if they were not": [
            laid(one, learned.linear(keyed(secret, one))) for one in kept
        ],
        "with the secret: nearest": [laid(one, learned.nearest(one)) for one in kept],
        "with the secret: linear": [laid(one, learned.linear(one)) for one in kept],
    }
    # No decoding of bits, however good, gives more than this way of laying patches does with these.
    made["the patches' true pixels"] = [
        laid(one, _cut(photo)[:KEPT].reshape(-1, GRAIN, GRAIN).astype(np.float32))
        for one, photo in zip(kept, targets, strict=True)
    ]
    for side in (4, 8, 16, 32):
        made[f"the original through {side} pixels"] = [thumbnail(one, side) for one in originals]
    print(f"\nreconstruction of {len(targets)} photographs: medians")
    print(f"  {'':<38}{'SSIM 64':>9}{'SSIM 256':>9}{'corr. 64':>9}{'corr. 256':>10}{'own':>9}")
    for name, pictures in made.items():
        at64, at256 = (
            [similarity(a, b, side) for a, b in zip(pictures, originals, strict=True)]
            for side in (64, 256)
        )
        small = np.array([sized(one, 32).ravel() for one in originals])
        shown = np.array([sized(one, 32).ravel() for one in pictures])
        nearest = np.corrcoef(shown, small)[: len(shown), len(shown) :].argmax(1)
        own = int((nearest == np.arange(len(shown))).sum())
        columns = zip(*at64, strict=True), zip(*at256, strict=True)
        (s64, c64), (s256, c256) = ([statistics.median(c) for c in some] for some in columns)
        print(f"  {name:<38}{s64:>9.2f}{s256:>9.2f}{c64:>9.2f}{c256:>10.2f}", end="")
        print(f"{own:>5} / {len(shown)}")


def drawn(shown: Sequence[Photo], learned: Learned, path: Path) -> None:
    """A row each: original, places, keyed bits read as they are, both reconstructions."""
    secret = Secret(bytes(range(32)))
    rows = []
    for photo in shown:
        kept = photo.features.first(KEPT)
        made = [
            laid(kept, learned.linear(keyed(secret, kept))),
            laid(kept, learned.linear(kept)),
            laid(kept, learned.nearest(kept)),
        ]
        factor = DRAWN / max(photo.luma.shape)
        size = round(photo.luma.shape[1] * factor), round(photo.luma.shape[0] * factor)
        small = Image.fromarray(photo.luma).resize(size, Image.Resampling.BOX)
        truth = np.asarray(small, np.float32)
        pictures = [np.clip(fitted(one, truth) + 0.5, 0, 255).astype(np.uint8) for one in made]
        images = [Image.fromarray(one).resize(size, Image.Resampling.BOX) for one in pictures]
        rows.append([small, _dots(kept, size), *images])
    step = DRAWN + 4
    canvas = Image.new("L", (5 * step - 4, sum(row[0].height + 4 for row in rows) - 4), 255)
    top = 0
    for row in rows:
        for column, image in enumerate(row):
            canvas.paste(image, (column * step + (DRAWN - image.width) // 2, top))
        top += row[0].height + 4
    canvas.quantize(GREYS).save(path, optimize=True)


def _dots(features: Features, size: tuple[int, int]) -> Image.Image:
    picture = Image.new("L", size, 255)
    pen = ImageDraw.Draw(picture)
    for x, y, scale in features.points() * (DRAWN / max(features.width, features.height)):
        reach = 2 * float(scale)
        pen.ellipse((x - reach, y - reach, x + reach, y + reach), outline=0)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, required=True, help="folder of JPEG photographs")
    parser.add_argument("--targets", type=int, default=26, help="photographs to reconstruct")
    parser.add_argument("--show", type=Path, nargs="*", default=[], help="for the picture alone")
    parser.add_argument("--picture", type=Path, help="where to write the comparison")
    options = parser.parse_args()
    print(describe("numpy", "scipy", "scikit-image", "pillow"))
    started = time.perf_counter()
    paths = photos(options.photos)
    chosen = spread(paths, options.targets)
    targets = [photo for photo in map(load, chosen) if len(photo.features) >= LEAST]
    shown = [load(path) for path in options.show]
    rest = [load(path) for path in paths if path not in chosen]
    others = [photo for photo in rest if len(photo.features) >= LEAST]
    learned_from = [one for one in others if not resembling(one, [*targets, *shown])]
    learned = learn(learned_from)
    print(
        f"{len(targets)} targets; {len(learned.words):,} patches of {len(learned_from)} other "
        f"photographs; {len(others) - len(learned_from)} left out, as they resemble a target; "
        f"{time.perf_counter() - started:.0f} s"
    )
    database_alone(targets)
    resaved = [_resaved(photo) for photo in targets]
    without_secret(targets, resaved)
    from_statistics(learned_from)
    measured(targets, learned)
    if options.picture:
        drawn(shown or targets[:4], learned, options.picture)
    print(f"\n{time.perf_counter() - started:.0f} s in all")


def _resaved(photo: Photo) -> Features:
    """Of the photograph at 80 % of its size, as JPEG."""
    with Image.open(photo.path) as image:
        picture = image.convert("RGB")
    small = picture.resize((round(0.8 * picture.width), round(0.8 * picture.height)))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    (made,) = LOCAL.fingerprint(b"", decode(out.getvalue(), Limits(), detail=LOCAL.detail))
    return Features.from_bytes(made.value)


if __name__ == "__main__":
    main()
