"""ORB or SIFT, ratio test and RANSAC over a similarity, as OpenCV offers them.

    python bench/peer_features.py JOB.json

A plain use of OpenCV: the picture in grey at long side `side`, `BFMatcher`, Lowe's ratio test,
`estimateAffinePartial2D`. It doesn't know mirrored pictures. `bench/derivatives.py` writes the job
and reads the one JSON line that is printed: for each method and altered file the number of inliers
with its own original and with some unrelated photographs.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from pathlib import Path

import cv2
import numpy as np

RATIO = {"orb": 0.8, "sift": 0.75}
TOLERANCE = 5.0
"""Of RANSAC, pixels at the working size."""


class Method:
    """A detector with so many features a picture."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        sift = name == "sift"
        self.detector = cv2.SIFT_create(count) if sift else cv2.ORB_create(count)
        self.matcher = cv2.BFMatcher(cv2.NORM_L2 if sift else cv2.NORM_HAMMING)

    def features(self, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Places float32 (n, 2) and descriptors, None if there are none."""
        points, descriptors = self.detector.detectAndCompute(grey, None)
        return np.float32([point.pt for point in points]).reshape(-1, 2), descriptors

    def inliers(
        self,
        a: tuple[np.ndarray, np.ndarray | None],
        b: tuple[np.ndarray, np.ndarray | None],
    ) -> int:
        """Matches that agree on one similarity, with different features on both sides."""
        if a[1] is None or b[1] is None or len(b[0]) < 2:
            return 0
        pairs = [
            pair[0]
            for pair in self.matcher.knnMatch(a[1], b[1], 2)
            if len(pair) == 2 and pair[0].distance < RATIO[self.name] * pair[1].distance
        ]
        if len(pairs) < 3:
            return 0
        own, other = [m.queryIdx for m in pairs], [m.trainIdx for m in pairs]
        transform, kept = cv2.estimateAffinePartial2D(
            a[0][own], b[0][other], method=cv2.RANSAC, ransacReprojThreshold=TOLERANCE
        )
        if transform is None:
            return 0
        return len({m.trainIdx for m, good in zip(pairs, kept.ravel(), strict=True) if good})


def grey(path: str, side: int) -> np.ndarray:
    picture = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
    factor = side / max(picture.shape)
    if factor >= 1:
        return picture
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


METHODS: list[Method] = []
REGISTERED: list[list] = []
SIDE = 0


def begin(methods: list[tuple[str, int]], side: int, registered: list[list]) -> None:
    global SIDE
    cv2.setNumThreads(1)
    cv2.setRNGSeed(1)
    METHODS.extend(Method(name, count) for name, count in methods)
    REGISTERED.extend(registered)
    SIDE = side


def register(path: str) -> list:
    picture = grey(path, SIDE)
    return [method.features(picture) for method in METHODS]


def ask(job: tuple[str, int, list[int]]) -> list[tuple[int, list[int]]]:
    """Inliers with the photograph of that number, and with each of the unrelated ones."""
    path, own, unrelated = job
    picture = grey(path, SIDE)
    told = []
    for number, method in enumerate(METHODS):
        made = method.features(picture)
        told.append(
            (
                method.inliers(made, REGISTERED[own][number]),
                [method.inliers(made, REGISTERED[other][number]) for other in unrelated],
            )
        )
    return told


def main(job: dict) -> None:
    """Print what each method finds."""
    started = time.perf_counter()
    with multiprocessing.Pool(job["cores"], begin, (job["methods"], job["side"], [])) as pool:
        registered = pool.map(register, job["registered"], chunksize=4)
    with multiprocessing.Pool(
        job["cores"], begin, (job["methods"], job["side"], registered)
    ) as pool:
        told = pool.map(ask, job["altered"], chunksize=8)
    seconds = time.perf_counter() - started
    print(json.dumps({"version": cv2.__version__, "told": told, "seconds": seconds}))


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
