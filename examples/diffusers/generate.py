"""Run a guarded pipeline: python generate.py MODEL "a red teapot" out.png [photo.png]."""

import sys

import diffusers
from PIL import Image

import tutela.guard
from tutela.guard.integrations.diffusers import guard
from tutela.guard.integrations.pictures import watermarking


def main(model: str, prompt: str, out: str, photo: str = "") -> None:
    edits = bool(photo)
    kind = diffusers.AutoPipelineForImage2Image if edits else diffusers.AutoPipelineForText2Image
    with tutela.guard.open("tutela-data") as gate:
        pipeline = kind.from_pretrained(model)
        pipeline = guard(pipeline, gate, mark=watermarking(gate, edited=edits))
        given = {"image": Image.open(photo)} if edits else {}
        pipeline(prompt=prompt, num_inference_steps=20, **given).images[0].save(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
