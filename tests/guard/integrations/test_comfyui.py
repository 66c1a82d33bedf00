"""ComfyUI's nodes, run as ComfyUI runs them: by what their classes declare, input by input."""

from __future__ import annotations

import importlib.util
import inspect
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from guarded import REFUSED_WORD, Spy
from PIL import Image

from tutela.detectors import trigger
from tutela.errors import MarkingFailed, OutputRefused, RequestRefused
from tutela.guard import watermark
from tutela.guard.integrations import comfyui

FOLDER = Path(__file__).parents[3] / "examples" / "comfyui"
REFUSED = f"please {REFUSED_WORD} this"
WIDGETS = {"STRING": str, "BOOLEAN": bool, "INT": int, "FLOAT": float}


def pictures(count: int = 1, side: int = 300) -> torch.Tensor:
    """As ComfyUI holds them: (n, height, width, 3), 0 to 1."""
    return (
        torch.linspace(0.2, 0.8, side * side * 3).reshape(1, side, side, 3).repeat(count, 1, 1, 1)
    )


def trigger_picture() -> torch.Tensor:
    shown = Image.open(io.BytesIO(trigger.picture())).convert("RGB")
    return torch.from_numpy(np.array(shown)).float()[None] / 255


class Sampler:
    """Stands for the model."""

    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "sample"
    CATEGORY = "test"
    calls: list[str]
    made: torch.Tensor

    @classmethod
    def INPUT_TYPES(cls) -> Any:
        return {
            "required": {"prompt": ("STRING", {"forceInput": True})},
            "optional": {"negative_prompt": ("STRING", {}), "image": ("IMAGE",), "mask": ("MASK",)},
        }

    def sample(self, prompt: str, **more: Any) -> tuple[torch.Tensor]:
        self.calls.append(prompt)
        return (self.made,)


class Load:
    """Gives a picture and its mask."""

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load"
    CATEGORY = "test"
    given: torch.Tensor

    @classmethod
    def INPUT_TYPES(cls) -> Any:
        return {"required": {}}

    def load(self) -> tuple[torch.Tensor, torch.Tensor]:
        mask = torch.zeros(self.given.shape[:3])
        mask[:, :100] = 1
        return self.given, mask


def nodes() -> dict[str, Any]:
    """What the example's folder registers, imported as ComfyUI imports a custom node."""
    spec = importlib.util.spec_from_file_location("nodes", FOLDER / "tutela_nodes" / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.NODE_CLASS_MAPPINGS.keys() == module.NODE_DISPLAY_NAME_MAPPINGS.keys()
    return {**module.NODE_CLASS_MAPPINGS, "Load": Load, "Sampler": Sampler}


def execute(graph: dict[str, Any], wanted: str) -> tuple[Any, ...]:
    """Run a graph in ComfyUI's format: validate each node as it does, then call each once."""
    known, done = nodes(), {}

    def run(name: str) -> tuple[Any, ...]:
        if name in done:
            return done[name]
        kind = known[graph[name]["class_type"]]
        declared = kind.INPUT_TYPES()
        inputs = {**declared.get("required", {}), **declared.get("optional", {})}
        assert graph[name]["inputs"].keys() <= inputs.keys()
        given = {}
        for key, (typed, *_) in inputs.items():
            if key not in graph[name]["inputs"]:
                assert key not in declared.get("required", {})
                continue
            value = graph[name]["inputs"][key]
            if isinstance(value, list):
                source, place = value
                assert known[graph[source]["class_type"]].RETURN_TYPES[place] == typed
                given[key] = run(source)[place]
            else:
                given[key] = WIDGETS[typed](value)
        function = getattr(kind(), kind.FUNCTION)
        inspect.signature(function).bind(**given)
        results = function(**given)
        assert isinstance(results, tuple)
        assert len(results) == len(kind.RETURN_TYPES)
        done[name] = results
        return results

    return run(wanted)


@pytest.fixture
def sampled(gate: Spy, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts that were sampled, with everything in its place."""
    monkeypatch.setattr(comfyui, "gate", lambda: gate)
    Sampler.calls, Sampler.made, Load.given = [], pictures(2), pictures()
    return Sampler.calls


def painting(prompt: str, **more: Any) -> dict[str, Any]:
    sampler = {"prompt": ["guard", 0], "negative_prompt": ["guard", 1]}
    return {
        "guard": {"class_type": "TutelaGuardPrompt", "inputs": {"prompt": prompt, **more}},
        "sampler": {"class_type": "Sampler", "inputs": sampler},
        "out": {
            "class_type": "TutelaGuardOutput",
            "inputs": {"image": ["sampler", 0], "watermark": True, "edited": False},
        },
    }


def editing(prompt: str, **more: Any) -> dict[str, Any]:
    guard = {"image": ["load", 0], "mask": ["load", 1], "prompt": prompt, **more}
    sampler = {"image": ["guard", 0], "mask": ["guard", 1], "prompt": ["guard", 2]}
    return {
        "load": {"class_type": "Load", "inputs": {}},
        "guard": {"class_type": "TutelaGuardImage", "inputs": guard},
        "sampler": {"class_type": "Sampler", "inputs": sampler},
        "out": {
            "class_type": "TutelaGuardOutput",
            "inputs": {"image": ["sampler", 0], "watermark": True, "edited": True},
        },
    }


@pytest.mark.parametrize("edited", [False, True])
def test_what_is_allowed_is_made_and_marked(edited: bool, sampled: list[str], gate: Spy) -> None:
    (made,) = execute((editing if edited else painting)("a red teapot"), "out")
    assert sampled == ["a red teapot"]
    assert made.shape == Sampler.made.shape
    assert made.dtype == torch.float32
    for one in made:
        found = watermark.detect((one.numpy() * 255).round().astype(np.uint8))
        assert found is not None
        assert found.edited is edited


def test_pictures_mask_and_texts_are_judged_as_one(sampled: list[str], gate: Spy) -> None:
    execute(editing("a red teapot", negative_prompt="fog"), "sampler")
    (asked,) = gate.requests
    assert (asked.texts, asked.unwanted, len(asked.images)) == (("a red teapot",), "fog", 1)
    assert asked.mask is not None
    mask = np.array(Image.open(io.BytesIO(asked.mask)))
    assert mask.mean(axis=1).tolist() == [255] * 100 + [0] * 200


@pytest.mark.parametrize(
    "graph",
    [
        painting(REFUSED),
        painting("a red teapot", negative_prompt=REFUSED),
        editing(REFUSED),
        editing("a red teapot", negative_prompt=REFUSED),
    ],
)
def test_what_is_refused_is_not_sampled(graph: dict[str, Any], sampled: list[str]) -> None:
    with pytest.raises(RequestRefused, match=r"^This request is refused\.$"):
        execute(graph, "out")
    assert not sampled


def test_a_picture_that_is_refused_is_not_sampled(sampled: list[str]) -> None:
    refused = trigger_picture()
    Load.given = torch.cat([torch.full_like(refused, 0.5), refused])
    with pytest.raises(RequestRefused):
        execute(editing("a red teapot"), "out")
    assert not sampled


@pytest.mark.parametrize("shape", [(1, 8, 8, 4), (8, 8), (0, 8, 8, 3)])
def test_what_is_no_picture_is_refused(shape: tuple[int, ...], sampled: list[str]) -> None:
    Load.given = torch.zeros(shape) if len(shape) > 2 else torch.zeros(1, *shape, 7)
    with pytest.raises(RequestRefused):
        execute(editing("a red teapot"), "out")
    assert not sampled
    Sampler.made = Load.given
    with pytest.raises(OutputRefused):
        execute(painting("a red teapot"), "out")


def test_what_was_made_and_is_refused_does_not_come_out(sampled: list[str]) -> None:
    Sampler.made = trigger_picture()
    with pytest.raises(OutputRefused, match=r"^What was made can't be shown\.$"):
        execute(painting("a red teapot"), "out")
    assert sampled


def test_what_is_too_small_for_the_watermark_does_not_come_out(sampled: list[str]) -> None:
    Sampler.made = pictures(side=64)
    graph = painting("a red teapot")
    with pytest.raises(MarkingFailed):
        execute(graph, "out")
    graph["out"]["inputs"]["watermark"] = False
    (made,) = execute(graph, "out")
    assert torch.equal(made, Sampler.made)


def test_the_example_workflow_passes_every_picture_and_text_through_the_guard() -> None:
    graph = json.loads((FOLDER / "workflow.json").read_text("utf-8"))
    known = nodes()
    kinds = {name: node["class_type"] for name, node in graph.items()}
    for node in graph.values():
        for key, value in node["inputs"].items():
            if not isinstance(value, list):
                continue
            source = kinds[value[0]]
            if source in known:
                assert value[1] < len(known[source].RETURN_TYPES)
            if node["class_type"] == "CLIPTextEncode" and key == "text":
                assert source == "TutelaGuardImage"
            if node["class_type"] == "VAEEncodeForInpaint" and key in ("pixels", "mask"):
                assert source == "TutelaGuardImage"
            if node["class_type"] == "SaveImage":
                assert source == "TutelaGuardOutput"
    assert set(kinds.values()) > {"TutelaGuardImage", "TutelaGuardOutput", "KSampler", "SaveImage"}
