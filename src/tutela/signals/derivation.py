"""Whether content derives from a protected photograph, and what of the photograph survives in it.

Patches that look alike propose where the photograph lies in the content; those that agree on one
place are counted by how unlikely they are to agree by chance (an a-contrario test: Desolneux,
Moisan and Morel, 2008). Distances alone are compared, so both sides may be keyed alike.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from tutela.signals.local import COARSEST, Features, Floats

RADIUS = 90
"""Bits up to which two patches are worth a look; strangers differ by 128 ± 10."""
LIKE = 3
"""Nearest patches of the photograph that each patch of the content is paired with."""
TRIES = 150
"""Pairs, nearest first, whose moves are tried."""
ENOUGH = 40
"""Pairs that agree on a move which is then not bettered."""
LOOSE, DRIFT, STRETCH = 1.2, 0.12, 0.35
"""How far off a pair may be: in scales, by distance from the proposer, in the log of the size."""
FIRM, STEADY = 1.2, 0.03
"""The same about a move that many pairs agreed on."""
MIDDLE, SLOPE = 12.0, 1.15
"""Score that is as likely a derivative's as a stranger's, and how fast that changes."""
LEAST = 0.5
"""Likelihood from which on content counts as a derivative."""
FEWEST = 3
"""Pairs that must agree."""
APART = 7.0
"""Scales between two patches from which on they are independent witnesses."""
AGAIN = 100
"""Bits up to which a patch is found again where it should be: strangers are once in a thousand."""
FINEST = 2.0
"""Least scale at which a patch is expected to be found again, pixels."""
SOME = 0.3
"""Share of the patches around a place that are found again where nothing was changed."""
GRID = 16
"""Cells a side of the map of what survives."""
OUTSIDE, SURVIVES, CHANGED, UNKNOWN = "0", "1", "2", "-"
"""Letters of the mask: not in the content, found again, not found again, nothing to tell by."""


@functools.cache
def kernels() -> ModuleType:
    """The compiled loops; loading them (and numba) waits until the first comparison."""
    from tutela.signals import derivation_kernels as loaded

    return loaded


@dataclass(frozen=True, slots=True)
class Derivative:
    """Where and how much of a protected photograph is in content."""

    likelihood: float
    """Probability that the content derives from the photograph, 0–1."""
    score: float
    """Decades by which the agreement is rarer than once by chance."""
    inliers: int
    """Patches that agree."""
    scale: float
    """The photograph's longer side, as a share of the content's longer side."""
    dx: float
    """Where the photograph's left edge lies, in shares of the content's longer side."""
    dy: float
    """Where its top edge lies, in shares of the content's longer side."""
    overlap: float
    """Share of the photograph that lies inside the content, 0–1."""
    changed: float
    """Share of that which is not found again, as far as patches tell, 0–1."""
    mask: str
    """GRID rows of GRID letters over the photograph, joined by `/`: see `SURVIVES`."""


def compare(asked: Features, held: Features) -> Derivative | None:
    """How content derives from a photograph, both upright; None if nothing says that it does."""
    found = _agreement(asked, held)
    if found is None:
        return None
    score, move, chosen = found
    chance = likelihood(score)
    if chance < LEAST:
        return None
    overlap, changed, drawn = _survival(asked, held, move)
    longer = max(held.width, held.height)
    within = max(asked.width, asked.height)
    return Derivative(
        likelihood=chance,
        score=score,
        inliers=chosen,
        scale=move[0] * longer / within,
        dx=move[1] / within,
        dy=move[2] / within,
        overlap=overlap,
        changed=changed,
        mask=drawn,
    )


def likelihood(score: float) -> float:
    """The probability that content with this score is a derivative.

    A logistic curve. Unrelated pairs of the photographs that this was tuned on reached a score of 7
    six times in 86,000 and 8.5 never, falling threefold a unit; the curve supposes that one
    candidate in some thousands is a derivative (docs/design/local-fingerprints.md).
    """
    return 1.0 / (1.0 + math.exp(min(SLOPE * (MIDDLE - score), 700.0)))


def _agreement(asked: Features, held: Features) -> tuple[float, NDArray[np.float64], int] | None:
    """The score, the move and the number of patches that agree on it."""
    if len(asked) < FEWEST or len(held) < FEWEST:
        return None
    pairs = np.empty((len(asked) * LIKE, 3), np.int32)
    count = kernels().nearest(_words(asked), _words(held), RADIUS, LIKE, pairs)
    pairs = pairs[:count]
    if count < FEWEST:
        return None
    order = np.argsort(pairs[:, 2], kind="stable")
    mine, theirs, worth = asked.points(), held.points(), _worth()
    chosen = np.empty(count, np.int64)
    agreed = kernels().elect(
        pairs, order, mine, theirs, worth, TRIES, ENOUGH, LOOSE, DRIFT, STRETCH, chosen
    )
    if agreed < FEWEST:
        return None
    move = _fitted(mine[pairs[chosen[:agreed], 0]], theirs[pairs[chosen[:agreed], 1]])
    again = kernels().agreeing(pairs, order, mine, theirs, move, FIRM, STEADY, STRETCH, chosen)
    if again < FEWEST:
        return None
    if again >= agreed // 2:
        move = _fitted(mine[pairs[chosen[:again], 0]], theirs[pairs[chosen[:again], 1]])
    kept = pairs[chosen[:again]]
    # A patch that resembles many of the other picture's tells little about any one of them.
    crowd = np.bincount(pairs[:, 0])[kept[:, 0]] * np.bincount(pairs[:, 1])[kept[:, 1]]
    score = _score(asked, held, kept[:, 2], crowd, mine[kept[:, 0]])
    return score, move, int(again)


def _fitted(to: Floats, of: Floats) -> NDArray[np.float64]:
    """The size and shift that bring points nearest to others, least squares; and their middle."""
    target, source = to[:, :2].astype(np.float64), of[:, :2].astype(np.float64)
    middle, origin = target.mean(0), source.mean(0)
    spread = float(((source - origin) ** 2).sum())
    size = float(((source - origin) * (target - middle)).sum()) / spread if spread > 0 else 0.0
    if size <= 0:
        size = float(np.exp(np.log(to[:, 2] / of[:, 2]).mean()))
    shift = middle - size * origin
    return np.array([size, *shift, *middle])


def _score(
    asked: Features,
    held: Features,
    distances: NDArray[np.int32],
    crowd: NDArray[np.intp],
    points: Floats,
) -> float:
    """Decades by which strangers agree less often than once.

    Any pair may be the first. Each further one is some pair as near that also lies where the
    first says, within the tolerances. A patch that overlaps one counted already is no independent
    witness: of a skyline, say, all patches look alike.
    """
    tried = len(asked) * len(held)
    reach = 2.0 + FIRM * points[:, 2].astype(np.float64)
    room = np.minimum(np.pi * reach**2 / (asked.width * asked.height), 1.0) * STRETCH
    rarity = np.maximum(_worth()[distances] - np.log10(tried * room * crowd), 0.0)
    order = np.argsort(-rarity, kind="stable")
    points = points[order].astype(np.float64)
    apart = np.hypot(*(points[:, None, :2] - points[None, :, :2]).T)
    span = APART * (points[:, None, 2] + points[None, :, 2]) / 2
    earlier = np.tri(len(points), k=-1, dtype=bool)
    alone = np.where(earlier, np.minimum(apart / span, 1.0), 1.0).min(1)
    first = order[0]
    start = min(0.0, float(_worth()[distances[first]]) - math.log10(tried))
    return start + float((rarity[order] * alone**2)[1:].sum())


@functools.cache
def _worth() -> NDArray[np.float64]:
    """By distance: decades by which two strangers' patches are rarely so near, at most eight.

    Measured on 110 million pairs of patches of unrelated photographs, down to once in a hundred
    thousand; nearer than that it goes on at that pace.
    """
    distances = [58.0, 80.0, 86.0, 92.0, 99.0, 110.0, 128.0]
    return np.interp(np.arange(257), distances, [8.0, 5.2, 4.4, 3.6, 2.8, 1.55, 0.3])


def _survival(
    asked: Features, held: Features, move: NDArray[np.float64]
) -> tuple[float, float, str]:
    """Overlap, changed share and mask: where the photograph's patches are found again.

    A patch survives if one alike lies where it should in the content. A cell of the mask goes by
    the patches around it, the nearer the more; reduced or smoothed, many are lost everywhere.
    """
    size, across, down = move[:3]
    points, there = held.points().astype(np.float64), asked.points()
    moved = points[:, :2] * size + (across, down)
    inside = ((moved >= 0) & (moved < (asked.width, asked.height))).all(1)
    # What is too small in the content to be looked for there is not missing.
    scales = points[:, 2] * size
    inside &= (scales >= FINEST) & (scales <= COARSEST * min(asked.width, asked.height))
    survived = kernels().surviving(
        _words(asked), _words(held), there, moved.astype(np.float32),
        scales.astype(np.float32), FIRM, STRETCH, AGAIN,
    )  # fmt: skip
    steps = (np.arange(GRID) + 0.5) / GRID
    x, y = steps[None, :] * held.width, steps[:, None] * held.height
    shown = (x * size + across >= 0) & (x * size + across < asked.width)
    shown = shown & (y * size + down >= 0) & (y * size + down < asked.height)
    reach = np.maximum(max(held.width, held.height) / GRID, 2.0 * points[:, 2])
    apart = (x[..., None] - points[:, 0]) ** 2 + (y[..., None] - points[:, 1]) ** 2
    weight = np.exp(-apart / (2 * reach**2)) * inside
    # No patch within about two cells: nothing to tell by.
    near = weight.max(-1, initial=0.0) > 0.1
    share = (weight * survived).sum(-1) / np.maximum(weight.sum(-1), 1e-9)
    told = np.where(near, np.where(share >= SOME, SURVIVES, CHANGED), UNKNOWN)
    letters = np.where(shown, told, OUTSIDE)
    seen = int(((letters == SURVIVES) | (letters == CHANGED)).sum())
    changed = float((letters == CHANGED).sum()) / seen if seen else 0.0
    wide = _length(across, size * held.width, asked.width)
    high = _length(down, size * held.height, asked.height)
    return wide * high, changed, "/".join("".join(row) for row in letters)


def _length(start: float, length: float, room: float) -> float:
    """Share of a side of this length from `start` on that lies between 0 and `room`."""
    return min(1.0, max(0.0, float((min(start + length, room) - max(start, 0.0)) / length)))


def _words(features: Features) -> NDArray[np.uint64]:
    return np.ascontiguousarray(features.descriptors).view(np.uint64)
