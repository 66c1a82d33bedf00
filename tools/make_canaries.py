"""Write src/tutela/banks/data/canaries.toml: fingerprints of harmless pictures, no pictures.

    pip install scikit-image && python tools/make_canaries.py

The photographs and drawings are those that scikit-image ships. The values that broken lists are
known for (the digests of nothing, the hash of a flat picture) are added by hand below.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import skimage.data
from PIL import Image

from tutela.detectors import trigger
from tutela.media import decode
from tutela.signals.pdq import PDQ

PICTURES = (
    *("astronaut", "brick", "camera", "cell", "clock", "grass", "gravel", "horse", "logo"),
    *("page", "retina", "text", "chessboard_GRAY", "immunohistochemistry"),
)
OUT = Path(__file__).parents[1] / "src/tutela/banks/data/canaries.toml"
KNOWN = {
    "nothing at all": [
        f"{name}:{hashlib.new(name, b'', usedforsecurity=False).hexdigest()}"
        for name in ("md5", "sha1", "sha256")
    ],
    "a flat picture": [f"pdq:{'0' * 64}", f"pdq:{'f' * 64}"],
}


def fingerprint(picture: Image.Image | bytes) -> str | None:
    """`pdq:…` of a picture, None if it is too flat for a bank."""
    if isinstance(picture, Image.Image):
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "PNG")
        picture = buffer.getvalue()
    made = PDQ.fingerprint(picture, decode(picture, detail=PDQ.detail))[0]
    return f"pdq:{PDQ.format(made.value)}" if (made.quality or 0) >= PDQ.min_quality else None


def main() -> None:
    """Write the file."""
    canaries = dict(KNOWN)
    canaries["Tutela's trigger picture"] = [fingerprint(trigger.picture()) or ""]
    folder = Path(skimage.data.__file__).parent
    for name in PICTURES:
        for path in (*folder.glob(f"{name}.png"), *folder.glob(f"{name}.jpg")):
            with Image.open(path) as picture:
                if text := fingerprint(picture):
                    canaries[f"scikit-image {name}"] = [text]
    lines = ["# Harmless pictures that no list may contain; made by tools/make_canaries.py.\n"]
    for name, fingerprints in canaries.items():
        listed = "".join(f'    "{text}",\n' for text in fingerprints)
        lines.append(f'\n[[canary]]\nname = "{name}"\nfingerprints = [\n{listed}]\n')
    OUT.write_text("".join(lines), encoding="utf-8")
    print(f"{len(canaries)} canaries in {OUT}")


if __name__ == "__main__":
    main()
