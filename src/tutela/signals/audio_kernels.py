"""The compiled loops of audio fingerprints: band energies, rows, and alignment by extension.

A row is two 64-bit words; a row of zeros says nothing (silence, steady noise) and matches nothing.
"""

# Types are numba's to infer.
# mypy: ignore-errors

from __future__ import annotations

import numba as nb
import numpy as np
from numba import types

from tutela.index.intrinsics import popcount

_FLOATS = types.Array(types.float32, 2, "C", readonly=True)
_INTS = types.Array(types.int64, 1, "C", readonly=True)
_ROWS = types.Array(types.uint64, 2, "C", readonly=True)


@nb.njit(
    types.void(
        types.Array(types.complex64, 2, "C", readonly=True), _INTS, _FLOATS, types.float32[:, ::1]
    ),
    nogil=True,
    cache=True,
)
def gather(spectra, first, weights, out):
    """Energy of each band: `weights[b]` on the powers of the bins from `first[b]` on."""
    for frame in range(spectra.shape[0]):
        for band in range(weights.shape[0]):
            total = np.float32(0.0)
            for tap in range(weights.shape[1]):
                bin_ = spectra[frame, first[band] + tap]
                total += weights[band, tap] * (bin_.real * bin_.real + bin_.imag * bin_.imag)
            out[frame, band] = total


@nb.njit(types.float64(types.float32[:, ::1]), nogil=True, cache=True)
def loudest(products):
    """The largest squared singular value, by power iteration; a little less where it is no
    larger than others."""
    n = products.shape[0]
    gram = np.zeros((n, n))
    first = 0
    for a in range(n):
        for b in range(a + 1):
            for j in range(products.shape[1]):
                gram[a, b] += products[a, j] * products[b, j]
            gram[b, a] = gram[a, b]
        if gram[a, a] > gram[first, first]:
            first = a
    vector, moved = gram[first].copy(), np.empty(n)
    value = 0.0
    for _ in range(8):
        length = np.sqrt((vector * vector).sum())
        if length == 0.0:
            return 0.0
        value = 0.0
        for a in range(n):
            moved[a] = 0.0
            for b in range(n):
                moved[a] += gram[a, b] * vector[b] / length
            value += moved[a] * vector[a] / length
        vector, moved = moved, vector
    return value


@nb.njit(
    types.void(
        _FLOATS,
        types.float32,
        _FLOATS,
        _FLOATS,
        types.float64,
        types.float64,
        types.uint64[:, ::1],
    ),
    nogil=True,
    cache=True,
)
def rows(energy, floor, along_time, along_tone, least, rest, out):
    """The row of every run of `len(along_time)` frames of band energies (n, bands).

    Energies are taken relative to `floor` of the run's mean, in logarithms; bit `16 k + j` is
    the sign of their product with cosine `k` along time and `j` along frequency. A run whose
    products' root mean square is below `least` gives a row of zeros, and so does one of which less
    than `rest` is left without the best product of one course in time and one spectrum: any tone
    that is switched on and off gives the same few rows.
    """
    length, times = along_time.shape
    bands, tones = along_tone.shape
    levels = np.empty(bands, np.float32)
    products = np.empty((times, tones), np.float32)
    tone = np.empty(tones, np.float32)
    for start in range(out.shape[0]):
        mean = np.float32(0.0)
        for frame in range(start, start + length):
            for band in range(bands):
                mean += energy[frame, band]
        base = floor * mean / np.float32(length * bands) + np.float32(1.0)
        products[:] = 0.0
        for frame in range(length):
            for band in range(bands):
                levels[band] = np.log(energy[start + frame, band] + base)
            tone[:] = 0.0
            for band in range(bands):
                for j in range(tones):
                    tone[j] += levels[band] * along_tone[band, j]
            for k in range(times):
                for j in range(tones):
                    products[k, j] += along_time[frame, k] * tone[j]
        square = 0.0
        for word in range(out.shape[1]):
            out[start, word] = 0
        for k in range(times):
            for j in range(tones):
                square += products[k, j] * products[k, j]
                bit = k * tones + j
                if products[k, j] > 0:
                    out[start, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)
        count = times * tones
        if square < least * least * count or square - loudest(products) < rest * rest * count:
            for word in range(out.shape[1]):
                out[start, word] = 0


@nb.njit(types.int64(_ROWS, types.int64, _ROWS, types.int64), nogil=True, cache=True)
def apart(a, i, b, j):
    """Hamming distance of row `i` of `a` and row `j` of `b`; -1 if either says nothing."""
    if not (a[i, 0] | a[i, 1]) or not (b[j, 0] | b[j, 1]):
        return -1
    return popcount(a[i, 0] ^ b[j, 0]) + popcount(a[i, 1] ^ b[j, 1])


@nb.njit(types.int64(_ROWS, types.int64, types.int64, types.boolean[::1]), nogil=True, cache=True)
def distinct(rows, same, back, kept):
    """Mark the rows that say something and lie farther than `same` from the last `back` marked."""
    found = np.empty(rows.shape[0], np.int64)
    count = 0
    for i in range(rows.shape[0]):
        kept[i] = apart(rows, i, rows, i) == 0
        other = count
        while kept[i] and other > 0 and other > count - back:
            other -= 1
            kept[i] = apart(rows, i, rows, found[other]) > same
        if kept[i]:
            found[count] = i
            count += 1
    return count


@nb.njit(
    types.int64(_ROWS, types.int64, _ROWS, types.int64, types.int64[::1], types.int64[::1]),
    nogil=True,
    cache=True,
)
def nearest(asked, i, held, radius, places, away):
    """The nearest rows of `held` to row `i` of `asked` within the radius, nearest first.

    Fills `places` and `away` (their distances) as far as they reach; returns how many.
    """
    count = 0
    for j in range(held.shape[0]):
        distance = apart(asked, i, held, j)
        if distance < 0 or distance > radius:
            continue
        at = min(count, places.shape[0])
        if at == places.shape[0]:
            if distance >= away[at - 1]:
                continue
            at -= 1
        else:
            count += 1
        while at > 0 and away[at - 1] > distance:
            places[at], away[at] = places[at - 1], away[at - 1]
            at -= 1
        places[at], away[at] = j, distance
    return count


@nb.njit(
    types.int64(
        _ROWS, types.int64, _ROWS, types.int64, types.int64,
        types.int64, types.float64, types.int64, types.int64, types.float64,
        types.int64[::1], types.int64[::1],
    ),
    nogil=True,
    cache=True,
)  # fmt: skip
def walk(asked, i, held, j, way, reach, pace, neutral, drop, bend, where, away):
    """Extend a match from (i, j) to later (`way` 1) or earlier (-1) rows of `held`.

    Each further row of `held` is expected `pace` rows of `asked` on and looked for within `reach`
    of there; where it is found, pace and place follow by the share `bend`. Rows count
    `neutral` - distance; it ends once the sum is `drop` below its highest. Fills `where` and
    `away` (row of `asked` and distance of each row of `held`, -1 for none) up to the highest and
    returns that sum. The row (i, j) itself is not counted.
    """
    place, step = float(i), pace
    score = best = 0
    row = last = j
    while True:
        row += way
        place += way * step
        if row < 0 or row >= held.shape[0]:
            break
        middle = int(np.rint(place))
        if middle + reach < 0 or middle - reach >= asked.shape[0]:
            break
        nearest, at = -1, -1
        for turn in range(2 * reach + 1):
            # The expected place first, so that it wins a tie: 0, 1, -1, 2, -2 …
            candidate = middle + ((turn + 1) // 2 if turn % 2 else -(turn // 2))
            if candidate < 0 or candidate >= asked.shape[0]:
                continue
            distance = apart(asked, candidate, held, row)
            if distance >= 0 and (nearest < 0 or distance < nearest):
                nearest, at = distance, candidate
        where[row], away[row] = at, nearest
        if nearest < 0:
            continue
        score += neutral - nearest
        if nearest < neutral:
            off = at - place
            place += bend * off
            step += way * bend * off * 0.125
            step = min(max(step, pace * 0.95), pace * 1.05)
        if score > best:
            best, last = score, row
        elif score < best - drop:
            break
    beyond = last + way
    while 0 <= beyond < held.shape[0] and beyond != row + way:
        where[beyond], away[beyond] = -1, -1
        beyond += way
    return best
