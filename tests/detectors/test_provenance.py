"""Provenance: what files say of their own making."""

from __future__ import annotations

import io

from PIL import Image, PngImagePlugin

from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance


def test_a_picture_with_settings_of_a_generator_is_generated() -> None:
    detector = Provenance()
    detector.prepare(Options())
    info = PngImagePlugin.PngInfo()
    settings = "Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, Version: v1.10.1"
    info.add_text("parameters", f"a teapot\n{settings}")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, "PNG", pnginfo=info)
    (finding,) = detector.examine(Subject(data=buffer.getvalue()))
    assert (finding.kind, finding.claim, finding.state) == ("provenance", "generated", "unsigned")
    assert "AUTOMATIC1111 v1.10.1" in finding.detail
    assert "teapot" not in finding.detail
