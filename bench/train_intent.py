"""Trains the weights of the intent engine.

    python bench/train_intent.py --texts FOLDER [--write]

It learns from the statements of `train_intent.toml`, from the `dev` part of `requests/` and from
the even half of the innocent texts in FOLDER (bench/benign_texts.py). One logistic model a kind,
over the combinations of roles that `tutela.detectors.intent.compose` finds, never over words. No
weight is below zero, since no combination speaks for innocence, and the constant is held so low
that a text that shows nothing is given nothing. Prints how well the likelihoods fit, and with
`--write` writes the package's `weights.json`.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

import benign_texts
from request_set import BENIGN, Grammar, load
from tutela.detectors.intent import Model, scenes
from tutela.detectors.intent.words import split
from tutela.findings import ADULT_SEXUAL, CHILD_SEXUALISATION, INTENTS

HERE: Final = Path(__file__).parent
WEIGHTS: Final = HERE.parent / "src/tutela/detectors/intent/weights.json"
PENALTY: Final = 0.005
"""Of the square of a weight."""
ROUNDS: Final = 20_000
INNOCENT: Final = 1.0
"""What an innocent text counts for, against one of harm: false alarms are dear."""
CONSTANT: Final = (-5.0, -4.0)
"""Where the constant may lie."""
MOST: Final = 6.0
"""The greatest weight."""

Row = frozenset[tuple[str, float]]
"""The combinations of one kind in a text, with how near each is."""
Rows = Mapping[str, Counter[Row]]
"""How often each row comes, by what the texts are."""
Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=Path, required=True, help="the folder of innocent texts")
    parser.add_argument("--write", action="store_true", help="write the weights")
    options = parser.parse_args()
    rows = {kind: {name: Counter[Row]() for name in (*INTENTS, BENIGN)} for kind in INTENTS}
    for name, text in (*statements(), *innocent(options.texts)):
        for kind, found in strongest(text).items():
            rows[kind][name][frozenset(found.items())] += 1
    made = {kind: fitted(*examples(kind, rows[kind])) for kind in INTENTS}
    for kind in INTENTS:
        show(kind, Model(made), *examples(kind, rows[kind]))
    if options.write:
        WEIGHTS.write_text(json.dumps(made, indent=1) + "\n", "utf-8")


def statements() -> Iterable[tuple[str, str]]:
    """What the project makes: what each is, and its text."""
    own = tomllib.loads((HERE / "train_intent.toml").read_text("utf-8"))
    slots = own.pop("slots")
    for request in Grammar("en", "English", "train", slots, own).expand():
        yield request.intent, request.text
    for request in load("dev"):
        yield request.intent, request.text


def innocent(folder: Path) -> Iterable[tuple[str, str]]:
    """The half of the innocent texts that may be tuned on."""
    for texts in benign_texts.read(folder).values():
        for text in benign_texts.half(texts, 0):
            yield BENIGN, text


def strongest(text: str) -> dict[str, dict[str, float]]:
    """The combinations in a text, each where its roles are nearest."""
    most: dict[str, dict[str, float]] = {kind: {} for kind in INTENTS}
    for found in scenes(split(text)):
        for kind, names in found.items():
            for name, near in names.items():
                most[kind][name] = max(near, most[kind].get(name, 0.0))
    return most


def examples(kind: str, rows: Rows) -> tuple[list[Row], Floats, Floats]:
    """Rows, whether each is of the kind, and how often it comes. Harm of another kind may be of
    this kind too, so it teaches nothing; what sexualises a child is sexual."""
    of = {ADULT_SEXUAL, CHILD_SEXUALISATION} if kind == ADULT_SEXUAL else {kind}
    against = {BENIGN} if kind == ADULT_SEXUAL else {BENIGN, ADULT_SEXUAL}
    given = [(row, name in of, n) for name in of | against for row, n in rows[name].items()]
    given.sort(key=lambda one: (sorted(one[0]), one[1]))
    labels = np.array([float(label) for _, label, _ in given])
    return [row for row, _, _ in given], labels, np.array([float(n) for _, _, n in given])


def fitted(given: list[Row], labels: Floats, counts: Floats) -> dict[str, float]:
    """The weights of one kind, by projected and accelerated gradient descent."""
    names = sorted({name for row in given for name, _ in row})
    table = np.array([[dict(row).get(name, 0.0) for name in names] for row in given])
    table = np.column_stack([table, np.ones(len(given))])
    counts = np.where(labels > 0, counts, INNOCENT * counts)
    low = np.array([0.0] * len(names) + [CONSTANT[0]])
    high = np.array([MOST] * len(names) + [CONSTANT[1]])
    penalty = np.array([PENALTY * len(given)] * len(names) + [0.0])
    # The greatest curvature there can be gives a step that never overshoots.
    step = 1 / (0.25 * np.linalg.eigvalsh(table.T @ (table * counts[:, None]))[-1] + penalty.max())
    found = last = np.clip(np.zeros(len(names) + 1), low, high)
    for turn in range(ROUNDS):
        ahead = found + turn / (turn + 3) * (found - last)
        likely = 1 / (1 + np.exp(-table @ ahead))
        slope = table.T @ (counts * (likely - labels)) + penalty * ahead
        last, found = found, np.clip(ahead - step * slope, low, high)
    weights = {name: round(float(w), 2) for name, w in zip(names, found[:-1], strict=True)}
    return {"": round(float(found[-1]), 2), **{n: w for n, w in weights.items() if w >= 0.05}}


def show(kind: str, model: Model, given: list[Row], labels: Floats, counts: Floats) -> None:
    """Print how well the likelihoods of a kind fit what it learnt from."""
    scores = np.array([model.score(kind, dict(row)) for row in given])
    for label, named in ((1.0, "of the kind"), (0.0, "innocent")):
        these = labels == label
        high = counts[these & (scores >= 0.5)].sum()
        print(f"{kind}: {high:.0f} of {counts[these].sum():.0f} {named} at 0.5 or more")
    for low in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9):
        up = {0.0: 0.1, 0.9: 1.01}.get(low, low + 0.2)
        there = (scores >= low) & (scores < up)
        if there.any():
            share = (counts * labels)[there].sum() / counts[there].sum()
            print(f"  {low:.1f} to {min(up, 1):.1f}: {counts[there].sum():6.0f}, {share:.2f} so")


if __name__ == "__main__":
    main()
