"""ComfyUI graphs: whether a picture was made from words alone, or out of another picture."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tutela.detectors.provenance.evidence import EDITED, GENERATED

MAX_NODES: Final = 4096

_LATENT: Final = ("latent_image", "latent", "samples", "latents")
_MAKING: Final = (
    "Sampler",
    "VAEDecode",
    "SaveImage",
    "PreviewImage",
    "CLIPTextEncode",
    "LoadImage",
)
_MUTED: Final = frozenset({2, 4})
"""Modes of a node that does not run: never, bypassed."""


@dataclass(slots=True)
class Node:
    """A step of a graph."""

    kind: str
    parents: dict[str, str] = field(default_factory=dict)
    """Input name → node."""

    @property
    def loads(self) -> bool:
        """It brings in a picture from outside."""
        name = self.kind.lower()
        return "load" in name and ("image" in name or "video" in name or "mask" in name)

    @property
    def samples(self) -> bool:
        """It makes a picture."""
        return "sampler" in self.kind.lower() and "select" not in self.kind.lower()

    @property
    def edits(self) -> bool:
        """What a sampler makes with it continues a picture that it is given."""
        name = self.kind.lower().replace("_", "").replace(" ", "")
        return any(
            part in name
            for part in (
                "inpaint",
                "outpaint",
                "setlatentnoisemask",
                "referencelatent",
                "instructpix2pix",
                "imageedit",
                "kontext",
                "img2img",
                "faceswap",
                "reactor",
                "facedetailer",
            )
        )


def parse(text: str) -> Any:
    """A JSON value, also with `NaN` in it; None for what is not JSON or is nested too deep."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def graph(value: object) -> dict[str, Node]:
    """The nodes of a `prompt` (what ran) or of a `workflow` (what was drawn); empty for others."""
    if not isinstance(value, dict):
        return {}
    if isinstance(value.get("nodes"), list):
        return _workflow(value)
    nodes: dict[str, Node] = {}
    for name, step in list(value.items())[:MAX_NODES]:
        if not isinstance(step, dict) or not isinstance(step.get("class_type"), str):
            continue
        inputs = step.get("inputs")
        node = nodes[name] = Node(step["class_type"])
        for slot, source in (inputs if isinstance(inputs, dict) else {}).items():
            if isinstance(source, list) and len(source) == 2 and isinstance(source[0], str):
                node.parents[str(slot)] = source[0]
    return nodes


def _workflow(value: Mapping[str, Any]) -> dict[str, Node]:
    """Other programs draw nodes and links too: one of those that make pictures must be there."""
    ends: dict[object, str] = {}
    links = value.get("links")
    for link in (links if isinstance(links, list) else [])[: 4 * MAX_NODES]:
        if isinstance(link, list) and len(link) >= 2 and isinstance(link[0], int):
            ends[link[0]] = str(link[1])
    nodes: dict[str, Node] = {}
    for step in value["nodes"][:MAX_NODES]:
        if not isinstance(step, dict) or not isinstance(step.get("type"), str):
            continue
        if isinstance(step.get("mode"), int) and step["mode"] in _MUTED:
            continue
        node = nodes[str(step.get("id"))] = Node(step["type"])
        inputs = step.get("inputs")
        for slot in inputs if isinstance(inputs, list) else []:
            link = slot.get("link") if isinstance(slot, dict) else None
            if isinstance(link, int) and link in ends:
                node.parents[str(slot.get("name"))] = ends[link]
    known = any(word in node.kind for node in nodes.values() for word in _MAKING)
    return nodes if known else {}


def claim(nodes: Mapping[str, Node]) -> tuple[str, str]:
    """What the graph did, and in words.

    A picture that is loaded and reaches a sampler's latent, or a node made for editing, was
    edited; one that only guides (a ControlNet, a style) leaves the result generated.
    """
    samplers = [node for node in nodes.values() if node.samples]
    for sampler in samplers:
        latents = [source for slot, source in sampler.parents.items() if slot in _LATENT]
        above = list(_ancestors(nodes, latents))
        if any(node.loads for node in above):
            return EDITED, "from a picture"
    loads = any(node.loads for node in nodes.values())
    if loads and any(
        node.edits and any(above.loads for above in _ancestors(nodes, node.parents.values()))
        for node in nodes.values()
    ):
        return EDITED, "from a picture, edited in place"
    if not samplers and loads:
        return EDITED, "from a picture"
    return GENERATED, "guided by a picture" if loads else "from words"


def _ancestors(nodes: Mapping[str, Node], sources: Iterable[str]) -> Iterable[Node]:
    waiting, seen = list(sources), set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        yield nodes[name]
        waiting += nodes[name].parents.values()
