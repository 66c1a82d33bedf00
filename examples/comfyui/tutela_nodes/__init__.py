"""Copy or link this folder into ComfyUI's `custom_nodes`, and start ComfyUI anew."""

from tutela.guard.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
