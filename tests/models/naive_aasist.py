"""AASIST in plain arithmetic, as its paper and the published network have it: the graph's twin."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def random_weights(seed: int = 0, width: int = 24, channels: int = 4) -> dict[str, Array]:
    """Weights of the shapes that AASIST-L has, with fewer channels in its residual blocks."""
    random = np.random.default_rng(seed)
    weights: dict[str, Array] = {}

    def give(name: str, *shape: int, scale: float = 0.3) -> None:
        weights[name] = (random.standard_normal(shape) * scale).astype(np.float32)

    def linear(name: str, into: int, out: int) -> None:
        give(f"{name}.weight", out, into, scale=into**-0.5)
        give(f"{name}.bias", out, scale=0.1)

    def norm(name: str, size: int) -> None:
        give(f"{name}.bias", size, scale=0.1)
        give(f"{name}.running_mean", size, scale=0.1)
        for part in ("weight", "running_var"):
            weights[f"{name}.{part}"] = random.uniform(0.5, 1.5, size).astype(np.float32)
        weights[f"{name}.num_batches_tracked"] = np.array(7)

    norm("first_bn", 1)
    before = 1
    for block, size in enumerate([channels, channels, *[width] * 4]):
        name = f"encoder.{block}.0"
        for part, into, kernel in (("conv1", before, 2), ("conv2", size, 2)):
            give(
                f"{name}.{part}.weight", size, into, kernel, 3, scale=0.8 * (into * kernel) ** -0.5
            )
            give(f"{name}.{part}.bias", size, scale=0.1)
        norm(f"{name}.bn2", size)
        if before != size:
            give(f"{name}.conv_downsample.weight", size, before, 1, 3, scale=0.8 * before**-0.5)
            give(f"{name}.conv_downsample.bias", size, scale=0.1)
        before = size
    give("pos_S", 1, 23, width)
    for name in ("GAT_layer_S", "GAT_layer_T"):
        for part in ("att_proj", "proj_with_att", "proj_without_att"):
            linear(f"{name}.{part}", width, width)
        give(f"{name}.att_weight", width, 1)
        norm(f"{name}.bn", width)
    for branch in "12":
        give(f"master{branch}", 1, 1, width)
        for layer, into in (("1", width), ("2", 32)):
            name = f"HtrgGAT_layer_ST{branch}{layer}"
            for part in ("proj_type1", "proj_type2"):
                linear(f"{name}.{part}", into, into)
            for part in ("att_proj", "att_projM", "proj_with_att", "proj_without_att"):
                linear(f"{name}.{part}", into, 32)
            for part in ("proj_with_attM", "proj_without_attM"):
                linear(f"{name}.{part}", into, 32)
            for part in ("11", "22", "12", "M"):
                give(f"{name}.att_weight{part}", 32, 1, scale=3.0)
            norm(f"{name}.bn", 32)
        linear(f"pool_hS{branch}.proj", 32, 1)
        linear(f"pool_hT{branch}.proj", 32, 1)
    linear("pool_S.proj", width, 1)
    linear("pool_T.proj", width, 1)
    linear("out_layer", 160, 2)
    return weights


class Naive:
    """Shares of nodes kept and temperatures are AASIST-L's."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.w = {name: np.asarray(value, np.float64) for name, value in weights.items()}

    def logits(self, sound: Array) -> Array:
        """Of one sound of 64,600 samples."""
        heard = np.abs(self.encode(sound))
        bands = heard.max(axis=2).T + self.w["pos_S"][0]
        bands = self.keep(self.attend(bands, "GAT_layer_S"), "pool_S", 0.4)
        times = self.keep(self.attend(heard.max(axis=1).T, "GAT_layer_T"), "pool_T", 0.5)
        branches = [self.branch(times, bands, number) for number in "12"]
        times, bands, master = (
            np.maximum(one, other) for one, other in zip(*branches, strict=True)
        )
        parts = []
        for nodes in (times, bands):
            parts += [np.abs(nodes).max(axis=0), nodes.mean(axis=0)]
        return self.linear(np.concatenate([*parts, master[0]]), "out_layer")

    def encode(self, sound: Array) -> Array:
        x = np.array([np.convolve(sound, taps[::-1], "valid") for taps in self.filters()])
        x = self.pool(np.abs(x)[None], 3)
        x = selu(self.norm(x, "first_bn"))
        for block in range(6):
            name = f"encoder.{block}.0"
            y = np.pad(x, ((0, 0), (1, 1), (0, 0)))
            y = selu(self.norm(self.convolve(y, f"{name}.conv1"), f"{name}.bn2"))
            y = self.convolve(y, f"{name}.conv2")
            if f"{name}.conv_downsample.weight" in self.w:
                x = self.convolve(x, f"{name}.conv_downsample")
            x = self.pool(x + y, 1)
        return x

    @staticmethod
    def filters() -> list[Array]:
        """Band-pass filters between 70 steps that are even in mel."""
        top = 2595 * np.log10(1 + 8000 / 700)
        edges = [700 * (10 ** (top * step / 70 / 2595) - 1) for step in range(71)]
        times, window = np.arange(-64, 65), np.hamming(129)
        low = [2 * edge / 16000 * np.sinc(2 * edge * times / 16000) for edge in edges]
        return [window * (high - below) for below, high in pairwise(low)]

    @staticmethod
    def pool(x: Array, bands: int) -> Array:
        """The largest of each 3 moments, and of each `bands` bands."""
        channels, height, width = x.shape
        x = x[:, : height // bands * bands, : width // 3 * 3]
        return x.reshape(channels, height // bands, bands, width // 3, 3).max(axis=(2, 4))

    def convolve(self, x: Array, name: str) -> Array:
        """Along bands as far as they go, along moments with one zero on each side."""
        kernel = self.w[f"{name}.weight"]
        x = np.pad(x, ((0, 0), (0, 0), (1, 1)))
        height, width = x.shape[1] - kernel.shape[2] + 1, x.shape[2] - 2
        y = np.zeros((len(kernel), height, width)) + self.w[f"{name}.bias"][:, None, None]
        for row in range(kernel.shape[2]):
            for column in range(3):
                part = x[:, row : row + height, column : column + width]
                y += np.tensordot(kernel[:, :, row, column], part, 1)
        return y

    def norm(self, x: Array, name: str) -> Array:
        """Over the first axis."""
        shape = (-1,) + (1,) * (x.ndim - 1)
        mean, spread, scale, shift = (
            self.w[f"{name}.{part}"].reshape(shape)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / np.sqrt(spread + 1e-5) * scale + shift

    def linear(self, x: Array, name: str) -> Array:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def attend(self, x: Array, name: str) -> Array:
        board = np.array(
            [
                [
                    (
                        np.tanh(self.linear(a * b, f"{name}.att_proj"))
                        @ self.w[f"{name}.att_weight"]
                    )[0]
                    for b in x
                ]
                for a in x
            ]
        )
        return self.project(x, softmax(board / 2), name)

    def branch(self, times: Array, bands: Array, number: str) -> list[Array]:
        master = self.w[f"master{number}"][0]
        times, bands, master = self.mix(times, bands, master, f"HtrgGAT_layer_ST{number}1")
        bands = self.keep(bands, f"pool_hS{number}", 0.7)
        times = self.keep(times, f"pool_hT{number}", 0.7)
        more = self.mix(times, bands, master, f"HtrgGAT_layer_ST{number}2")
        return [one + other for one, other in zip((times, bands, master), more, strict=True)]

    def mix(self, times: Array, bands: Array, master: Array, name: str) -> tuple[Array, ...]:
        first = len(times)
        x = np.concatenate(
            [self.linear(times, f"{name}.proj_type1"), self.linear(bands, f"{name}.proj_type2")]
        )
        board = np.empty((len(x), len(x)))
        for i, a in enumerate(x):
            for j, b in enumerate(x):
                kind = "12" if (i < first) != (j < first) else "11" if i < first else "22"
                told = np.tanh(self.linear(a * b, f"{name}.att_proj"))
                board[i, j] = (told @ self.w[f"{name}.att_weight{kind}"])[0]
        mixed = self.project(x, softmax(board / 100), name)
        told = np.tanh(self.linear(x * master, f"{name}.att_projM"))
        weights = softmax((told @ self.w[f"{name}.att_weightM"]).T / 100)
        master = self.linear(weights @ x, f"{name}.proj_with_attM") + self.linear(
            master, f"{name}.proj_without_attM"
        )
        return mixed[:first], mixed[first:], master

    def project(self, x: Array, board: Array, name: str) -> Array:
        y = self.linear(board @ x, f"{name}.proj_with_att")
        y += self.linear(x, f"{name}.proj_without_att")
        return selu(self.norm(y.T, f"{name}.bn").T)

    def keep(self, x: Array, name: str, share: float) -> Array:
        weight = 1 / (1 + np.exp(-self.linear(x, f"{name}.proj")[:, 0]))
        best = np.argsort(-weight, kind="stable")[: max(1, int(len(x) * share))]
        return (x * weight[:, None])[best]


def selu(x: Array) -> Array:
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def softmax(x: Array) -> Array:
    """Over the last axis."""
    grown = np.exp(x - x.max(axis=-1, keepdims=True))
    return grown / grown.sum(axis=-1, keepdims=True)
