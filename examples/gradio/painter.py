"""An interface that paints, guarded: python painter.py."""

import gradio as gr
from PIL import Image, ImageOps

import tutela.guard
from tutela.guard.integrations.gradio import guard


def paint(prompt: str, photo: Image.Image) -> Image.Image:
    # Your model here.
    return ImageOps.mirror(photo)


def create(data: str = "tutela-data") -> gr.Interface:
    gate = tutela.guard.open(data)
    inputs = [gr.Textbox(label="Prompt"), gr.Image(type="pil", label="Photo")]
    return gr.Interface(guard(paint, gate), inputs, "image", api_name="paint")


if __name__ == "__main__":
    create().launch()
