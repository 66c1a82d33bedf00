"""What a guarded model made leaves marked, or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

import provenance_files as files
from pictures import picture, profile
from tutela.cli.app import app
from tutela.content import Content
from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance
from tutela.errors import ConfigurationError, MarkingFailed
from tutela.findings import Finding
from tutela.guard import watermark
from tutela.guard.marking import Marker
from tutela.screening import Screener
from tutela.settings import Settings, load

FORMATS: dict[str, dict[str, Any]] = {
    "jpeg": {"quality": 92},
    "png": {},
    "webp": {"quality": 90},
}


def scene(width: int = 640, height: int = 512) -> Image.Image:
    smooth = np.asarray(picture(width, height, 1), np.float32)
    texture = np.asarray(picture(width, height, 2, cells=96), np.float32) - 128
    return Image.fromarray(np.clip(smooth * 0.7 + 30 + texture / 5, 0, 255).astype(np.uint8))


def saved(kind: str = "png", image: Image.Image | None = None, **options: Any) -> bytes:
    into = io.BytesIO()
    (image or scene()).save(into, kind, **(FORMATS.get(kind, {}) | options))
    return into.getvalue()


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("identity")
    _, chain, key = files.identity()
    (folder / "chain.pem").write_text(chain)
    (folder / "key.pem").write_bytes(key)
    return {"mark_certificate": folder / "chain.pem", "mark_key": folder / "key.pem"}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Settings]:
    folder = tmp_path_factory.mktemp("data")
    return lambda **given: load(folder, **given)


@pytest.fixture(scope="module")
def signing(settings: Callable[..., Settings], identity: dict[str, Path]) -> Marker:
    return Marker(settings(**identity))


@pytest.fixture(scope="module")
def plain(settings: Callable[..., Settings]) -> Marker:
    return Marker(settings())


def said(data: bytes) -> list[Finding]:
    reader = Provenance()
    reader.prepare(Options())
    return list(reader.examine(Subject(data=data)))


def carried(data: bytes) -> watermark.Mark | None:
    return watermark.detect(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("edited", [False, True], ids=["generated", "edited"])
@pytest.mark.parametrize("kind", FORMATS)
def test_a_marked_picture_says_so_in_three_ways(signing: Marker, kind: str, edited: bool) -> None:
    made = signing.mark(saved(kind), edited=edited)
    manifest, xmp = said(made)
    claim = "edited" if edited else "generated"
    assert (manifest.claim, manifest.state, manifest.signer) == (claim, "valid", "Example Signer")
    assert "by Tutela" in manifest.detail
    assert (xmp.claim, xmp.state) == (claim, "unsigned")
    mark = carried(made)
    assert mark is not None
    assert mark.edited is edited


@pytest.mark.parametrize("kind", FORMATS)
def test_the_picture_stays_what_it_was(plain: Marker, kind: str) -> None:
    icc = profile("p3")
    before = saved(kind, icc_profile=icc)
    after = plain.mark(before)
    old, new = (Image.open(io.BytesIO(data)) for data in (before, after))
    assert (new.format, new.size, new.mode) == (old.format, old.size, old.mode)
    assert new.info["icc_profile"] == icc
    assert len(after) < 1.5 * len(before)
    change = np.asarray(old.convert("RGB"), float) - np.asarray(new.convert("RGB"))
    assert 10 * np.log10(255**2 / np.mean(np.square(change))) >= 38


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_every_mode_of_png(plain: Marker, mode: str) -> None:
    image = scene().convert(mode)
    if mode in ("LA", "RGBA"):
        alpha = Image.linear_gradient("L").resize(image.size)
        image.putalpha(alpha)
    made = Image.open(io.BytesIO(plain.mark(saved("png", image))))
    assert carried(saved("png", made)) is not None
    if mode in ("LA", "RGBA"):
        assert made.getchannel("A").tobytes() == alpha.tobytes()


def test_lossless_stays_lossless(plain: Marker) -> None:
    made = plain.mark(saved("webp", lossless=True, exact=True))
    assert b"VP8L" in made
    assert b"VP8 " not in made


def test_notes_that_may_hold_the_prompt_do_not_leave(plain: Marker) -> None:
    notes = PngImagePlugin.PngInfo()
    notes.add_text("parameters", files.PROMPT)
    made = plain.mark(saved("png", pnginfo=notes))
    assert b"zzquince" not in made


def test_the_mark_outlives_the_manifest(signing: Marker, settings: Callable[..., Settings]) -> None:
    """From the model to an upload elsewhere: halved and recompressed, which drops all metadata."""
    made = Image.open(io.BytesIO(signing.mark(saved("png"), edited=True)))
    shared = saved("jpeg", made.resize((made.width // 2, made.height // 2)), quality=50)
    with Screener(settings(evidence="full", workers=1)) as screener:
        verdict = screener.screen(Content(data=shared))
    (found,) = [one for one in verdict.findings if one.kind == "provenance"]
    assert (found.claim, found.state) == ("edited", "unsigned")
    assert "watermark of Tutela" in found.detail


def test_an_upstream_manifest_becomes_the_parent(signing: Marker) -> None:
    before = files.signed(
        files.action("c2pa.created", "trainedAlgorithmicMedia"), kind="PNG", plain=saved("png")
    )
    made = signing.mark(before)
    store = json.loads(c2pa.Reader(io.BytesIO(made)).json())
    assert store["validation_state"] == "Valid"
    active = store["manifests"][store["active_manifest"]]
    (parent,) = active["ingredients"]
    assert parent["relationship"] == "parentOf"
    older = store["manifests"][parent["active_manifest"]]
    assert older["claim_generator_info"][0]["name"] == "Example Imager"
    actions = active["assertions"][0]["data"]["actions"]
    assert [one["action"] for one in actions] == ["c2pa.opened", "c2pa.watermarked.unbound"]
    assert "thumbnail" not in active
    assert said(made)[0].claim == "generated"


def test_a_broken_upstream_manifest_is_not_dropped_in_silence(signing: Marker) -> None:
    before = bytearray(
        files.signed(
            files.action("c2pa.created", "trainedAlgorithmicMedia"),
            kind="JPEG",
            plain=saved("jpeg"),
        )
    )
    before[-60] ^= 1
    (manifest, *_) = said(signing.mark(bytes(before)))
    assert manifest.state == "valid"
    assert "an ingredient fails" in manifest.detail


def test_small_pictures(plain: Marker, signing: Marker) -> None:
    small = saved("png", scene(200, 180))
    with pytest.raises(MarkingFailed, match="too small for a watermark"):
        plain.mark(small)
    made = signing.mark(small)
    assert said(made)[0].state == "valid"
    store = json.loads(c2pa.Reader(io.BytesIO(made)).json())
    assert "watermarked" not in json.dumps(store)


def animated() -> bytes:
    into = io.BytesIO()
    frames = [scene(300, 300), scene(300, 300).rotate(90)]
    frames[0].save(into, "WEBP", save_all=True, append_images=frames[1:])
    return into.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no picture"),
        (b"a text", "no picture"),
        (saved("gif"), "gif file can't be marked"),
        (animated(), "animated webp"),
        (saved("png")[:5000], "damaged"),
        (saved("jpeg", scene().convert("CMYK")), "mode CMYK"),
        (saved("png", scene().convert("I;16")), "mode I;16"),
    ],
    ids=["nothing", "text", "gif", "animation", "cut", "cmyk", "16 bits"],
)
def test_what_cannot_be_marked_does_not_leave(plain: Marker, data: bytes, why: str) -> None:
    with pytest.raises(MarkingFailed, match=why):
        plain.mark(data)


def test_a_picture_that_holds_no_mark_does_not_leave(
    plain: Marker, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(watermark, "detect", lambda *_: asked.append(1))
    with pytest.raises(MarkingFailed, match="can't be read back"):
        plain.mark(saved("png"))
    assert asked


def test_bounds_hold(settings: Callable[..., Settings]) -> None:
    with pytest.raises(MarkingFailed, match="max_bytes"):
        Marker(settings(max_bytes=1000)).mark(saved("png"))
    with pytest.raises(MarkingFailed, match="max_pixels"):
        Marker(settings(max_pixels=1000)).mark(saved("png"))


def test_a_signer_that_fails_keeps_the_picture_in(
    signing: Marker, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = []

    def fail(*_: object) -> None:
        failed.append(1)
        raise c2pa.C2paError.Signature("of zzquince")

    monkeypatch.setattr(c2pa.Builder, "sign", fail)
    with pytest.raises(MarkingFailed) as error:
        signing.mark(saved("png"))
    assert failed
    assert "zzquince" not in str(error.value)


def test_what_is_set_is_what_is_said(
    settings: Callable[..., Settings], identity: dict[str, Path], plain: Marker, signing: Marker
) -> None:
    assert str(plain) == "an invisible watermark alone"
    assert str(signing) == "a C2PA manifest signed by Example Signer and an invisible watermark"
    off = Marker(settings(mark_watermark=False))
    assert (off.marks, str(off)) == (False, "nothing")
    assert off.mark(b"as it is") == b"as it is"
    alone = Marker(settings(mark_watermark=False, **identity))
    assert str(alone) == "a C2PA manifest signed by Example Signer"
    made = alone.mark(saved("png"))
    assert said(made)[0].state == "valid"
    assert carried(made) is None


def test_certificates_that_cannot_sign(
    settings: Callable[..., Settings], identity: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="go together"):
        Marker(settings(mark_key=identity["mark_key"]))
    with pytest.raises(ConfigurationError, match="can't be read"):
        Marker(settings(**identity | {"mark_key": tmp_path / "none.pem"}))
    (tmp_path / "bad.pem").write_text("nonsense zzquince")
    with pytest.raises(ConfigurationError, match="PEM") as error:
        Marker(settings(**identity | {"mark_key": tmp_path / "bad.pem"}))
    assert "zzquince" not in str(error.value)
    root, _, _ = files.identity()
    (tmp_path / "root.pem").write_text(root)
    with pytest.raises(ConfigurationError, match="not the key"):
        Marker(settings(**identity | {"mark_certificate": tmp_path / "root.pem"}))


def test_a_key_of_the_operators_own(settings: Callable[..., Settings], tmp_path: Path) -> None:
    key = tmp_path / "own.key"
    key.write_bytes(b"0123456789abcdef0123\n")
    made = Marker(settings(watermark_key=key)).mark(saved("png"))
    assert carried(made) is None
    reader = Provenance()
    reader.prepare(Options(watermark_key=key))
    (found,) = [one for one in reader.evidence(made, thorough=True) if "watermark" in one.detail]
    assert "key of your own" in found.detail
    key.write_bytes(b"short")
    with pytest.raises(ConfigurationError, match="at random"):
        Marker(settings(watermark_key=key))


def test_from_the_command_line(tmp_path: Path) -> None:
    def run(*arguments: str, code: int = 0, **environment: str) -> str:
        command = ["--data", str(tmp_path / "data"), "guard", *arguments]
        done = CliRunner().invoke(app, command, env=environment)
        assert done.exit_code == code, done.output
        return done.output

    (tmp_path / "in.png").write_bytes(saved("png"))
    source, out = str(tmp_path / "in.png"), str(tmp_path / "out.png")
    assert "For testing" in run("certificate", str(tmp_path), "--name", "Example Studio")
    # What is there is never written over.
    assert "can't be written" in run("certificate", str(tmp_path), code=1)
    assert "watermark alone" in run("mark", source, "--out", out)
    signed = {
        "TUTELA_MARK_CERTIFICATE": str(tmp_path / "mark-certificate.pem"),
        "TUTELA_MARK_KEY": str(tmp_path / "mark-key.pem"),
        "TUTELA_TRUST_LIST": str(tmp_path / "mark-root.pem"),
    }
    assert "signed by Example Studio" in run("mark", source, "--out", out, "--edited", **signed)
    told = json.loads(run("read", out, "--json", **signed))
    assert [(one["claim"], one["state"]) for one in told["marks"]] == [
        ("edited", "trusted"),
        ("edited", "unsigned"),
        ("edited", "unsigned"),
    ]
    assert "no mark" in run("read", source, code=1)
    assert "nothing is to be marked" in run(
        "mark", source, "--out", out, code=1, TUTELA_MARK_WATERMARK="false"
    )
