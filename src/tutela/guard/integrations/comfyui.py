"""ComfyUI: nodes that stop a workflow before it samples, and before its pictures leave.

A folder in `custom_nodes` whose `__init__.py` is

    from tutela.guard.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

is all that ComfyUI needs. docs/guard-comfyui.md tells how to use it, and whom it can't stop.
"""

from __future__ import annotations

import atexit
import functools
from typing import Any, ClassVar, Final

from tutela.content import Context
from tutela.guard.gate import Gate
from tutela.guard.integrations.pictures import watermarking
from tutela.guard.integrations.values import Given, Made, allowed
from tutela.settings import load

SURFACE: Final = "comfyui"
Inputs = dict[str, dict[str, Any]]
TEXT: Final = ("STRING", {"multiline": True, "default": ""})


@functools.cache
def gate() -> Gate:
    """The gate of this process, opened when the first node needs it, as `TUTELA_DATA` says."""
    opened = Gate(load())
    atexit.register(opened.close)
    return opened


class _Node:
    """What all nodes have in common."""

    CATEGORY: ClassVar[str] = "tutela"
    FUNCTION: ClassVar[str] = "judge"

    def _judge(self, given: Given) -> None:
        allowed(gate().request(given.request(Context(surface=SURFACE))))


class TutelaGuardPrompt(_Node):
    """Texts in, the same texts out. Raises `RequestRefused` before anything is sampled."""

    DESCRIPTION = "Stops the workflow if what is asked for may not be made."
    RETURN_TYPES = ("STRING", "STRING")
    RETURN_NAMES = ("prompt", "negative_prompt")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What the node takes."""
        return {"required": {"prompt": TEXT}, "optional": {"negative_prompt": TEXT}}

    def judge(self, prompt: str, negative_prompt: str = "") -> tuple[str, str]:
        """Judge the texts."""
        given = Given()
        given.read("prompt", prompt)
        given.read("negative_prompt", negative_prompt or None)
        self._judge(given)
        return prompt, negative_prompt


class TutelaGuardImage(_Node):
    """Pictures, a mask and texts, judged as one. What went in comes out."""

    DESCRIPTION = "Stops the workflow if these pictures may not be changed as is asked."
    RETURN_TYPES = ("IMAGE", "MASK", "STRING", "STRING")
    RETURN_NAMES = ("image", "mask", "prompt", "negative_prompt")

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What the node takes."""
        more = {"mask": ("MASK",), "negative_prompt": TEXT}
        return {"required": {"image": ("IMAGE",), "prompt": TEXT}, "optional": more}

    def judge(
        self, image: Any, prompt: str, mask: Any = None, negative_prompt: str = ""
    ) -> tuple[Any, Any, str, str]:
        """Judge pictures, a tensor (n, height, width, channels) from 0 to 1, by the prompt."""
        given = Given()
        given.read("prompt", prompt)
        given.read("negative_prompt", negative_prompt or None)
        given.read("image", _pixels(image))
        given.read("mask", None if mask is None else mask.cpu().numpy())
        self._judge(given)
        return image, mask, prompt, negative_prompt


class TutelaGuardOutput(_Node):
    """Pictures in, the same pictures out, marked. Raises `OutputRefused`."""

    DESCRIPTION = "Keeps back pictures that may not be shown, and marks the others."
    RETURN_TYPES = ("IMAGE",)
    RETURN_NAMES = ("image",)

    @classmethod
    def INPUT_TYPES(cls) -> Inputs:
        """What the node takes."""
        return {
            "required": {
                "image": ("IMAGE",),
                "watermark": ("BOOLEAN", {"default": True}),
                "edited": ("BOOLEAN", {"default": False}),
            }
        }

    def judge(self, image: Any, watermark: bool = True, edited: bool = False) -> tuple[Any]:
        """Judge pictures, and mark them."""
        mark = watermarking(gate(), edited=edited) if watermark else None
        made = Made(gate(), mark=mark, context=Context(surface=SURFACE)).passed(_pixels(image))
        return (image.new_tensor(made),)


def _pixels(image: Any) -> Any:
    """ComfyUI's pictures, whose channels come last, as an array."""
    return image.detach().cpu().float().clamp(0, 1).numpy()


NODE_CLASS_MAPPINGS: Final = {
    node.__name__: node for node in (TutelaGuardPrompt, TutelaGuardImage, TutelaGuardOutput)
}
NODE_DISPLAY_NAME_MAPPINGS: Final = {
    "TutelaGuardPrompt": "Tutela: guard the prompt",
    "TutelaGuardImage": "Tutela: guard an edit",
    "TutelaGuardOutput": "Tutela: guard what was made",
}
