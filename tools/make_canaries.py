"""Write src/tutela/banks/data/canaries.toml: fingerprints of harmless pictures, no pictures.

    python tools/make_canaries.py PICTURE…

The pictures should be harmless and widespread, such as the wallpapers that desktops come with: they
stand behind the windows of countless screenshots. The values that broken lists are known for (the
digests of nothing, the hash of a flat picture) are added here.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

from tutela.detectors import trigger
from tutela.media import decode
from tutela.signals.pdq import PDQ

OUT = Path(__file__).parents[1] / "src/tutela/banks/data/canaries.toml"
KNOWN = {
    "nothing at all": [
        f"{name}:{hashlib.new(name, b'', usedforsecurity=False).hexdigest()}"
        for name in ("md5", "sha1", "sha256")
    ],
    "a flat picture": [f"pdq:{'0' * 64}", f"pdq:{'f' * 64}"],
}


def fingerprint(data: bytes) -> str | None:
    """`pdq:…` of a picture, None if it is too flat for a bank."""
    made = PDQ.fingerprint(data, decode(data, detail=PDQ.detail))[0]
    return f"pdq:{PDQ.format(made.value)}" if (made.quality or 0) >= PDQ.min_quality else None


def main(pictures: list[Path]) -> None:
    """Write the file."""
    canaries = dict(KNOWN)
    canaries["Tutela's trigger picture"] = [fingerprint(trigger.picture()) or ""]
    for path in pictures:
        if text := fingerprint(path.read_bytes()):
            canaries[f"wallpaper {path.stem}"] = [text]
    lines = ["# Harmless pictures that no list may contain; made by tools/make_canaries.py.\n"]
    for name, fingerprints in canaries.items():
        listed = "".join(f'    "{text}",\n' for text in fingerprints)
        lines.append(f'\n[[canary]]\nname = "{name}"\nfingerprints = [\n{listed}]\n')
    OUT.write_text("".join(lines), encoding="utf-8")
    print(f"{len(canaries)} canaries in {OUT}")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
