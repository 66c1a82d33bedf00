"""AASIST-L: the network that tells synthetic voices from real ones, from its weights to ONNX.

Jung et al., "AASIST: Audio Anti-Spoofing using Integrated Spectro-Temporal Graph Attention
Networks", ICASSP 2022. Its authors publish weights (MIT) for PyTorch; the graph they belong to is
written here, so that a plain installation runs them. Names in quotes are those of the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from tutela.errors import ConfigurationError
from tutela.media.types import RATE
from tutela.models import checkpoint
from tutela.models.graph import Graph

SAMPLES: Final = 64_600
"""Samples that the network hears at once: 4.04 s."""

_BANDS: Final = 70
_TAPS: Final = 129
_BLOCKS: Final = 6
_EPSILON: Final = 1e-5
_STEPS: Final = 29
"""Moments that are left of `SAMPLES` after the residual blocks …"""
_ROWS: Final = 23
"""… and bands, after pooling by three."""

_WIDTH: Final = 24
"""Channels of the first graph layers; the larger AASIST has others, and other shares."""
_SPECTRAL: Final = 0.4
"""Share of the bands that are kept as nodes, …"""
_TEMPORAL: Final = 0.5
"""… of the moments, …"""
_MIXED: Final = 0.7
"""… and of both once they were mixed."""
_WARM: Final = 2.0
"""Temperature of the attention among nodes of one kind, …"""
_HOT: Final = 100.0
"""… and of both."""

Weights = Mapping[str, NDArray[Any]]


def convert(data: bytes) -> bytes:
    """An ONNX model from the file of AASIST-L's weights.

    Its input `sound` is float32 (n, `SAMPLES`), ±1 at full scale, 16 kHz; its output `logits` is
    float32 (n, 2): the logits of "made" and "spoken". Raises `ConfigurationError`.
    """
    weights = checkpoint.read(data)
    try:
        if weights["GAT_layer_S.att_weight"].shape != (_WIDTH, 1):
            raise ValueError("layers of another width")
        return _Network(weights).build()
    except (KeyError, ValueError, IndexError) as error:
        raise ConfigurationError(
            "these weights are not AASIST-L's; pull the model again"
        ) from error


def filters() -> NDArray[np.float32]:
    """The band-pass filters that hear first, (`_BANDS`, `_TAPS`): windowed sinc functions whose
    edges are evenly spread in mel."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), _BANDS + 1)
    edges = 700 * (10 ** (mel / 2595) - 1)
    times = np.arange(_TAPS) - _TAPS // 2
    low_pass = 2 * edges[:, None] / RATE * np.sinc(2 * edges[:, None] * times / RATE)
    return np.asarray(np.diff(low_pass, axis=0) * np.hamming(_TAPS), np.float32)


@dataclass
class _Network:
    weights: Weights
    graph: Graph = field(default_factory=Graph)

    def build(self) -> bytes:
        heard = self._encode("sound")
        bands = self._nodes(heard, axis=3)
        bands = self.graph.add("Add", bands, self._weight("pos_S"))
        bands = self._attend(bands, "GAT_layer_S")
        bands, rows = self._keep(bands, _ROWS, "pool_S", _SPECTRAL)
        times = self._attend(self._nodes(heard, axis=2), "GAT_layer_T")
        times, steps = self._keep(times, _STEPS, "pool_T", _TEMPORAL)
        first = self._branch(times, steps, bands, rows, 1)
        second = self._branch(times, steps, bands, rows, 2)
        times, bands, master = (
            self.graph.add("Max", *pair) for pair in zip(first, second, strict=True)
        )
        parts = [*self._summary(times), *self._summary(bands), self._squeeze(master)]
        together = self.graph.add("Concat", *parts, axis=1)
        logits = self._linear(together, "out_layer")
        return self.graph.model(
            [("sound", ["n", SAMPLES])],
            [(logits, "logits", ["n", 2])],
        )

    def _encode(self, sound: str) -> str:
        """(n, samples) → (n, channels, bands, moments)."""
        add = self.graph.add
        x = add("Unsqueeze", sound, self._ints(1))
        x = add("Conv", x, self.graph.constant(filters()[:, None]))
        x = add("Unsqueeze", add("Abs", x), self._ints(1))
        x = add("MaxPool", x, kernel_shape=[3, 3], strides=[3, 3])
        scale, shift = self._norm("first_bn")
        x = add("Add", add("Mul", x, self._real(scale)), self._real(shift))
        x = add("Selu", x)
        for number in range(_BLOCKS):
            x = self._residual(x, f"encoder.{number}.0")
        return x

    def _residual(self, x: str, name: str) -> str:
        """Two convolutions and what came in, pooled by three along time.

        The published network passes by the first normalisation of each block, and was trained so.
        """
        scale, shift = self._norm(f"{name}.bn2")
        kernel = self.weights[f"{name}.conv1.weight"] * scale[:, None, None, None]
        bias = self.weights[f"{name}.conv1.bias"] * scale + shift
        y = self.graph.add(
            "Conv", x, self._real(kernel), self._real(bias), pads=[1, 1, 1, 1], kernel_shape=[2, 3]
        )
        y = self._convolve(self.graph.add("Selu", y), f"{name}.conv2", [2, 3])
        if f"{name}.conv_downsample.weight" in self.weights:
            x = self._convolve(x, f"{name}.conv_downsample", [1, 3])
        return self.graph.add(
            "MaxPool", self.graph.add("Add", y, x), kernel_shape=[1, 3], strides=[1, 3]
        )

    def _convolve(self, x: str, name: str, kernel: list[int]) -> str:
        weight, bias = self._weight(f"{name}.weight"), self._weight(f"{name}.bias")
        return self.graph.add("Conv", x, weight, bias, pads=[0, 1, 0, 1], kernel_shape=kernel)

    def _nodes(self, heard: str, axis: int) -> str:
        """The strongest along one axis of what was heard, as (n, nodes, channels)."""
        strongest = self.graph.add(
            "ReduceMax", self.graph.add("Abs", heard), axes=[axis], keepdims=0
        )
        return self.graph.add("Transpose", strongest, perm=[0, 2, 1])

    def _attend(self, x: str, name: str) -> str:
        """One layer of graph attention among nodes of one kind, (n, nodes, width)."""
        told = self.graph.add("Tanh", self._linear(self._pairs(x), f"{name}.att_proj"))
        board = self.graph.add("MatMul", told, self._weight(f"{name}.att_weight"))
        board = self.graph.add("Squeeze", board, self._ints(3))
        return self._project(x, self._soften(board, _WARM), name)

    def _branch(
        self, times: str, steps: int, bands: str, rows: int, number: int
    ) -> tuple[str, str, str]:
        """Two layers of attention among moments and bands together, beside a master node."""
        layer = f"HtrgGAT_layer_ST{number}"
        master = self._weight(f"master{number}")
        times, bands, master = self._mix(times, steps, bands, rows, master, f"{layer}1")
        bands, rows = self._keep(bands, rows, f"pool_hS{number}", _MIXED)
        times, steps = self._keep(times, steps, f"pool_hT{number}", _MIXED)
        more = self._mix(times, steps, bands, rows, master, f"{layer}2")
        added = zip((times, bands, master), more, strict=True)
        times, bands, master = (self.graph.add("Add", *pair) for pair in added)
        return times, bands, master

    def _mix(
        self, times: str, steps: int, bands: str, rows: int, master: str, name: str
    ) -> tuple[str, str, str]:
        add = self.graph.add
        times = self._linear(times, f"{name}.proj_type1")
        bands = self._linear(bands, f"{name}.proj_type2")
        x = add("Concat", times, bands, axis=1)
        told = add("Tanh", self._linear(self._pairs(x), f"{name}.att_proj"))
        kinds = [self.weights[f"{name}.att_weight{kind}"] for kind in ("11", "22", "12")]
        board = add("MatMul", told, self._real(np.concatenate(kinds, axis=1)))
        # A pair of moments, of bands, or of one and the other is weighed by its own vector.
        kind = np.arange(steps + rows) >= steps
        alike = kind[:, None] == kind[None, :]
        pairs = np.stack([alike & ~kind, alike & kind, ~alike], axis=-1)
        board = add("ReduceSum", add("Mul", board, self._real(pairs)), self._ints(3), keepdims=0)
        mixed = self._project(x, self._soften(board, _HOT), name)
        told = add("Tanh", self._linear(add("Mul", x, master), f"{name}.att_projM"))
        board = add("MatMul", told, self._weight(f"{name}.att_weightM"))
        board = self._soften(add("Transpose", board, perm=[0, 2, 1]), _HOT)
        heard = self._linear(add("MatMul", board, x), f"{name}.proj_with_attM")
        master = add("Add", heard, self._linear(master, f"{name}.proj_without_attM"))
        sizes = self.graph.constant(np.array([steps, rows]))
        times, bands = self.graph.split("Split", 2, mixed, sizes, axis=1)
        return times, bands, master

    def _pairs(self, x: str) -> str:
        """The product of each two nodes, (n, nodes, nodes, width)."""
        one = self.graph.add("Unsqueeze", x, self._ints(2))
        other = self.graph.add("Unsqueeze", x, self._ints(1))
        return self.graph.add("Mul", one, other)

    def _soften(self, board: str, temperature: float) -> str:
        cooled = self.graph.add("Mul", board, self._real(np.array(1 / temperature)))
        return self.graph.add("Softmax", cooled, axis=-1)

    def _project(self, x: str, board: str, name: str) -> str:
        """What the attention gathers and what each node holds, normalised."""
        gathered = self._linear(self.graph.add("MatMul", board, x), f"{name}.proj_with_att")
        x = self.graph.add("Add", gathered, self._linear(x, f"{name}.proj_without_att"))
        scale, shift = self._norm(f"{name}.bn")
        x = self.graph.add("Add", self.graph.add("Mul", x, self._real(scale)), self._real(shift))
        return self.graph.add("Selu", x)

    def _keep(self, x: str, nodes: int, name: str, share: float) -> tuple[str, int]:
        """The nodes that matter most, in order, each by its weight; and how many they are."""
        add = self.graph.add
        kept = max(1, int(nodes * share))
        weight = add("Sigmoid", self._linear(x, f"{name}.proj"))
        flat = add("Squeeze", weight, self._ints(2))
        count = self.graph.constant(np.array([kept]))
        _, places = self.graph.split("TopK", 2, flat, count, axis=1)
        places = add("Unsqueeze", places, self._ints(2))
        wide = add("Expand", places, self.graph.constant(np.array([1, 1, self._width(name)])))
        return add("GatherElements", add("Mul", x, weight), wide, axis=1), kept

    def _width(self, pool: str) -> int:
        return int(self.weights[f"{pool}.proj.weight"].shape[1])

    def _summary(self, x: str) -> tuple[str, str]:
        strongest = self.graph.add("ReduceMax", self.graph.add("Abs", x), axes=[1], keepdims=0)
        return strongest, self.graph.add("ReduceMean", x, axes=[1], keepdims=0)

    def _squeeze(self, master: str) -> str:
        return self.graph.add("Squeeze", master, self._ints(1))

    def _linear(self, x: str, name: str) -> str:
        product = self.graph.add("MatMul", x, self._real(self.weights[f"{name}.weight"].T))
        return self.graph.add("Add", product, self._weight(f"{name}.bias"))

    def _norm(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """Batch normalisation of a trained network: a scale and a shift for each channel."""
        spread = np.sqrt(self.weights[f"{name}.running_var"] + _EPSILON)
        scale = self.weights[f"{name}.weight"] / spread
        return scale, self.weights[f"{name}.bias"] - self.weights[f"{name}.running_mean"] * scale

    def _weight(self, name: str) -> str:
        return self._real(self.weights[name])

    def _real(self, value: NDArray[Any]) -> str:
        return self.graph.constant(np.asarray(value, np.float32))

    def _ints(self, *values: int) -> str:
        return self.graph.constant(np.array(values, np.int64))
