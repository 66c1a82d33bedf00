"""Forensics and synthetic suspicion on photographs: what is found, by way and by source.

    python bench/synthetic.py --photos FOLDER [--unseen FOLDER] [--generated FOLDER] [--count N]
    python bench/synthetic.py --photos FOLDER --fit
    python bench/synthetic.py --model NAME --models FOLDER --photos FOLDER --generated FOLDER

Of the photographs of `--photos` every other one is for tuning; `--fit` prints the tables that
Tutela ships, fitted to them. All else is told of the others, or of `--unseen`. `--generated` has
pictures that image models made: named folder by folder in docs/design/synthetic.md. With `--model`
the scores of a neural model that `synthetic.toml` sets up are printed by source, with the table to
write there. Likelihoods are those at even odds.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import spectrum
from alterations import ALTERATIONS, Alteration, jpeg, read
from machine import describe
from photos import photos, resized
from spliced import EDITS, HARMLESS, ONCE, WAYS, files, opened
from tutela.detectors import Options, Subject, examine, forensics, provenance, synthetic
from tutela.detectors.forensics import likelihood, traces
from tutela.findings import FAILURE, SYNTHETIC
from tutela.media import decode
from tutela.media.types import MediaFacts
from tutela.signals.derivation import compare
from tutela.signals.local import extract

SIDE = 1280
EDGES = {
    "forensics": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 9.0),
    "derivation": (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.6, 0.8, 0.92, 1.01),
}
HARMLESS_DERIVATIVES = (
    *("50 % crop", "bordered", "collage", "screenshot", "stickers", "text"),
    *("JPEG 30", "filtered", "tilted 8°", "360 px"),
)
REPAINTED = tuple(
    one.name
    for one in ALTERATIONS
    if one.name.startswith("repainted") and "mirrored" not in one.name
)
BANDS = (0.5, 0.75, 0.9, 0.95, 1.0)

Scored = list[tuple[str, str, float]]
"""Of each file: the way it was saved or altered, the edit, its score."""


def regions(paths: Sequence[Path]) -> Scored:
    """Scores of forensics."""
    scored = []
    for path in paths:
        others = [other for other in paths if other != path]
        for made in files(path, others):
            found = forensics.examined(made.data, made.kind)
            scored.append((made.way, made.edit, found[0].score if found else 0.0))
    return scored


def derived(paths: Sequence[Path]) -> Scored:
    """Changed shares of derivatives that are found."""
    by_name = {one.name: one for one in ALTERATIONS}
    scored = []
    for place, path in enumerate(paths):
        picture = read(path, SIDE)
        held = extract(_luma(jpeg(picture, 90)))
        others = [read(paths[(place + n) % len(paths)], SIDE) for n in (1, 2, 3)]
        for name in (*HARMLESS_DERIVATIVES, *REPAINTED):
            altered: Alteration = by_name[name]
            found = compare(extract(_luma(altered.encode(picture, path.name, None, others))), held)
            if found is not None and found.likelihood >= 0.5:
                scored.append(
                    (name, "" if name in HARMLESS_DERIVATIVES else "repainted", found.changed)
                )
    return scored


def fit(scored: Scored, edges: Sequence[float]) -> list[list[float]]:
    """Points of a table: the likelihood of an edit by score, at even odds.

    Shares of both kinds in bins, one of each added, so that no bin is sure of what it never saw.
    """
    value = np.array([score for _, _, score in scored])
    label = np.array([bool(edit) for _, edit, _ in scored])
    points = []
    for low, high in itertools.pairwise(edges):
        inside = (value >= low) & (value < high)
        edited = (inside & label).sum() + 1
        others = (inside & ~label).sum() + 1
        odds = edited / label.sum() / (others / (~label).sum())
        centre = float(np.median(value[inside])) if inside.any() else (low + high) / 2
        points.append([round(centre, 3), round(float(odds / (1 + odds)), 3)])
    return points


def rising(points: list[list[float]]) -> list[list[float]]:
    """The points with neighbours pooled until the likelihoods rise."""
    pools = [[point] for point in points]
    place = 0
    while place + 1 < len(pools):
        here, after = (statistics.mean(p[1] for p in pool) for pool in pools[place : place + 2])
        if here > after:
            pools[place : place + 2] = [pools[place] + pools[place + 1]]
            place = max(0, place - 1)
        else:
            place += 1
    return [
        [point[0], round(statistics.mean(p[1] for p in pool), 3)]
        for pool in pools
        for point in pool
    ]


def tell_regions(scored: Scored) -> None:
    rows: dict[tuple[str, bool], list[float]] = defaultdict(list)
    edits: dict[str, list[float]] = defaultdict(list)
    for way, edit, score in scored:
        rows[way, bool(edit)].append(score)
        if edit and way in ("saved finer", "saved as PNG"):
            edits[edit].append(score)
    print("| the edited file was | found | false | AUC | nothing said |")
    print("|---|---|---|---|---|")
    for way in (*WAYS, ONCE, *HARMLESS):
        edited, plain = rows.get((way, True), []), rows[way, False]
        found = _share(likelihood(score) >= forensics.SHOWN for score in edited)
        false = _share(likelihood(score) >= forensics.SHOWN for score in plain)
        silent = _share(score <= 0 for score in edited + plain)
        area = f"{spectrum.auc(np.array(edited), np.array(plain)):.2f}" if edited else ""
        print(f"| {way} | {found if edited else ''} | {false} | {area} | {silent} |")
    print()
    print("| edit, saved finer or as PNG | found |")
    print("|---|---|")
    for edit in EDITS:
        print(
            f"| {edit} | {_share(likelihood(score) >= forensics.SHOWN for score in edits[edit])} |"
        )
    print()


def tell_derived(scored: Scored) -> None:
    print("| alteration | found as derivative | changed: 10 %, median, 90 % | likelihood, median |")
    print("|---|---|---|---|")
    for name in (*HARMLESS_DERIVATIVES, *REPAINTED):
        changed = np.array([score for way, _, score in scored if way == name])
        if len(changed):
            low, middle, high = np.quantile(changed, [0.1, 0.5, 0.9])
            worth = statistics.median(synthetic.altered(float(score)) for score in changed)
            print(
                f"| {name} | {len(changed)} | {low:.2f}, {middle:.2f}, {high:.2f} | {worth:.2f} |"
            )
    print()


def reliability(likely: Iterable[tuple[float, bool]]) -> None:
    """Of what was said: how often it was so, both kinds weighed alike."""
    said = np.array([(one, truth) for one, truth in likely])
    weight = np.where(said[:, 1] > 0, 1 / (said[:, 1] > 0).sum(), 1 / (said[:, 1] == 0).sum())
    print("| likelihood | files | said, mean | so |")
    print("|---|---|---|---|")
    for low, high in zip((0.0, *BANDS), (*BANDS, 1.01), strict=False):
        inside = (said[:, 0] >= low) & (said[:, 0] < high)
        if inside.any():
            mean = np.average(said[inside, 0], weights=weight[inside])
            so = np.average(said[inside, 1], weights=weight[inside])
            print(f"| {low:g}–{min(high, 1):g} | {inside.sum()} | {mean:.2f} | {so:.2f} |")
    print()


def tell_fused(real: dict[str, Path], generated: Path) -> None:
    """What all together say of generated pictures and of photographs, as published and anew."""
    chosen = (provenance.PROVENANCE, forensics.FORENSICS, synthetic.SYNTHETIC)
    for detector in chosen:
        detector.prepare(Options())

    def said(data: bytes) -> bool:
        media = decode(data)
        facts = MediaFacts(media.format, media.width, media.height, media.frame_count, len(data))
        subject = Subject(data=data, media=media, facts=facts)
        for detector in chosen:
            if detector.applies(facts):
                found = [*subject.findings, *examine(detector, subject)]
                subject = replace(subject, findings=found)
        if any(finding.kind == FAILURE for finding in subject.findings):
            raise SystemExit("a detector failed")
        return any(finding.kind == SYNTHETIC for finding in subject.findings)

    told: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for name, folder in real.items():
        for path in photos(folder)[::2]:
            told[f"photographs: {name}"].append((said(path.read_bytes()), said(_anew(path))))
    for path in sorted(generated.rglob("*.png")):
        told[spectrum.source(path)].append((said(path.read_bytes()), said(_anew(path))))
    print(
        "| source | pictures | said to be synthetic, as published | saved as JPEG 90 | abstained |"
    )
    print("|---|---|---|---|---|")
    for name, pairs in told.items():
        plain, anew = (sum(pair[place] for pair in pairs) for place in (0, 1))
        silent = 1 - (plain + anew) / (2 * len(pairs))
        print(f"| {name} | {len(pairs)} | {plain} | {anew} | {silent:.0%} |")
    print()


def _anew(path: Path) -> bytes:
    return jpeg(opened(path.read_bytes()), 90)


def tell_model(name: str, folder: Path, real: Path, generated: Path) -> None:
    """A neural model's scores by source, and the table for `synthetic.toml`."""
    from tutela.detectors import synthetic_models as neural
    from tutela.media.views import View

    (model,) = [one for one in neural.load(folder) if one.adapter.name == name]

    def score(path: Path) -> float | None:
        picture = np.asarray(opened(jpeg(read(path, 640), 90)))
        view, facts = View("", picture), MediaFacts("jpeg", picture.shape[1], picture.shape[0])
        row = model.adapter.row(view, facts)
        return None if row is None else model.adapter.score(np.atleast_2d(model.model.run(row)))

    plain = [made for path in photos(real) if (made := score(path)) is not None]
    by_source: dict[str, list[float]] = defaultdict(list)
    for path in sorted(generated.rglob("*.png")):
        if (made := score(path)) is not None:
            by_source[spectrum.source(path)].append(made)
    for source, scores in by_source.items():
        area = spectrum.auc(np.array(scores), np.array(plain))
        print(f"{source}: {len(scores)} pictures, AUC {area:.2f} against {len(plain)} photographs")
    every = [("", "generated", made) for scores in by_source.values() for made in scores]
    points = fit([*every, *(("", "", made) for made in plain)], np.linspace(0, 1.001, 9).tolist())
    print("points =", json.dumps(rising(points)))


def tell_cost(paths: Sequence[Path]) -> None:
    spent = defaultdict(list)
    for path in paths:
        data = resized(path, 1732, 1155)
        quantised = forensics.steps(data)
        for _ in range(3):
            started = time.perf_counter()
            forensics.examined(data, "jpeg")
            between = time.perf_counter()
            pixels = np.asarray(opened(data))
            decoded = time.perf_counter()
            traces(pixels, quantised)
            spent["a JPEG of 2 megapixels"].append(between - started)
            spent["of that, without decoding"].append(time.perf_counter() - decoded)
    for what, seconds in spent.items():
        middle, least = 1e3 * statistics.median(seconds), 1e3 * min(seconds)
        print(f"{what}: median {middle:.0f} ms, least {least:.0f} ms")
    print()


def _share(those: Iterable[bool]) -> str:
    told = list(those)
    return f"{sum(told)} of {len(told)}"


def _luma(data: bytes) -> NDArray[np.uint8]:
    return decode(data).frames[0].luma


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--unseen", type=Path)
    parser.add_argument("--generated", type=Path)
    parser.add_argument("--real", type=Path, action="append", default=[])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--model")
    parser.add_argument("--models", type=Path)
    asked = parser.parse_args()
    print(describe("numba", "numpy", "pillow", "simplejpeg"), end="\n\n")
    if asked.model:
        tell_model(asked.model, asked.models, asked.photos, asked.generated)
        return
    every = photos(asked.photos)
    if asked.fit:
        tuning = every[::2][: asked.count]
        points = rising(fit(regions(tuning), EDGES["forensics"]))
        print("synthetic-forensics.json:", json.dumps({"points": points}))
        points = fit(derived(tuning[:: max(1, len(tuning) // 30)]), EDGES["derivation"])
        print("synthetic-derivation.json:", json.dumps({"points": points}))
        return
    paths = (photos(asked.unseen) if asked.unseen else every[1::2])[: asked.count]
    print(f"{len(paths)} photographs that no table was fitted to\n")
    scored = regions(paths)
    tell_regions(scored)
    reliability((likelihood(score), bool(edit)) for _, edit, score in scored)
    changed = derived(paths[:: max(1, len(paths) // 30)])
    tell_derived(changed)
    reliability((synthetic.altered(score), bool(edit)) for _, edit, score in changed)
    tell_cost(paths[:: max(1, len(paths) // 8)])
    if asked.generated:
        real = {folder.name: folder for folder in (asked.photos, *asked.real)}
        tell_fused(real, asked.generated)
        spectrum.report(real, asked.generated)


if __name__ == "__main__":
    main()
