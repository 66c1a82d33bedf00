"""What generators write beside the picture, each by its own conventions.

Only the name of a known program and a version in the form of one go into evidence. The settings
hold prompts: they are looked at and left behind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tutela.detectors.provenance import graphs
from tutela.detectors.provenance.evidence import (
    CAPTURED,
    EDITED,
    GENERATED,
    Evidence,
    source_type,
)
from tutela.detectors.provenance.metadata import MAX_NOTES, Metadata, Note

_VERSION = re.compile(r"\b[vVf]?\d[\w.+-]{0,30}")

# Programs by the name they give in a field for names. Whole words; names that other programs or
# cameras bear too ("Imagen", "Aurora", "Flux" alone) are left out.
_PROGRAMS: Final = {
    name: re.compile(rf"(?<![\w]){pattern}(?![\w])", re.IGNORECASE)
    for name, pattern in {
        "Adobe Firefly": r"(?:Adobe )?Firefly",
        "Apple Image Playground": r"Image Playground",
        "Bing Image Creator": r"(?:Bing Image Creator|Microsoft Designer|Image Creator)",
        "Civitai": r"Civitai",
        "ComfyUI": r"ComfyUI",
        "DALL-E": r"DALL[-·•\s]?E(?:[\s-]?\d)?",
        "Diffusion Bee": r"Diffusion ?Bee",
        "Doubao": r"(?:Doubao|豆包|Jimeng|即梦|Dreamina|Seedream)",
        "Draw Things": r"Draw ?Things",
        "DreamStudio": r"DreamStudio",
        "Easy Diffusion": r"Easy ?Diffusion",
        "FLUX": r"(?:Black Forest Labs|FLUX\.[12])",
        "Fooocus": r"(?:Ruined)?Fooocus(?:-?MRE)?",
        "Google AI": r"(?:Made with Google AI|Google (?:AI|Imagen|Gemini)|Gemini \d|Nano Banana)",
        "Grok": r"(?:Grok(?: Imagine)?|xAI)",
        "Hunyuan": r"(?:Hunyuan|混元)",
        "Ideogram": r"Ideogram(?: AI)?",
        "InvokeAI": r"Invoke ?AI",
        "Kling": r"(?:Kling ?AI|可灵)",
        "Krea": r"Krea(?: AI)?",
        "Leonardo.Ai": r"Leonardo\.?\s?Ai",
        "Meta AI": r"(?:Imagined with AI|Meta AI)",
        "Midjourney": r"Midjourney",
        "Mochi Diffusion": r"Mochi Diffusion",
        "NightCafe": r"NightCafe",
        "NovelAI": r"Novel ?AI",
        "OpenAI": r"(?:OpenAI|ChatGPT|GPT-?4o|gpt-image-\d)",
        "PixAI": r"PixAI",
        "Playground AI": r"Playground ?AI",
        "Qwen": r"(?:Qwen-?Image|Tongyi|通义)",
        "Recraft": r"Recraft(?: AI)?",
        "SD.Next": r"SD\.Next",
        "SeaArt": r"SeaArt",
        "Stable Diffusion": r"(?:Stable ?Diffusion|Stability ?AI)",
        "SwarmUI": r"(?:Stable)?SwarmUI",
        "Tensor.Art": r"Tensor\.?Art",
        "diffusers": r"(?:Hugging ?Face )?diffusers",
        "stable-diffusion.cpp": r"stable-diffusion\.cpp",
    }.items()
}
# What editors write when a model changed a photo.
_EDITORS: Final = {
    "Google AI": re.compile(r"Edited with Google AI", re.IGNORECASE),
    "Apple Clean Up": re.compile(r"Apple Photos Clean ?Up", re.IGNORECASE),
    "Generative Fill": re.compile(r"Generative (?:Fill|Expand|Remove)", re.IGNORECASE),
    "Galaxy AI": re.compile(r"Edited with Galaxy AI", re.IGNORECASE),
}
_NAMING: Final = frozenset(
    {"software", "creatortool", "credit", "softwareagent", "aisystemused", "generator", "source"}
)
"""Fields that name a program, not what a person wrote."""

_CAMERAS: Final = {
    name.lower(): name
    for name in (
        *("Apple", "Asus", "Canon", "Casio", "DJI", "Fujifilm", "Google", "GoPro", "Hasselblad"),
        *("Honor", "HTC", "Huawei", "Kodak", "Leica", "Lenovo", "LG", "Motorola", "Nikon", "Nokia"),
        *("Nothing", "Olympus", "OnePlus", "OPPO", "Panasonic", "Pentax", "PhaseOne", "Realme"),
        *("Ricoh", "Samsung", "Sigma", "Sony", "Vivo", "Xiaomi", "ZTE"),
    )
}

_SETTINGS = re.compile(r"(?:\A|\n)[ \t]*Steps: \d+,[^\n]*")
_SETTINGS_ALSO = re.compile(r"(?:Seed: -?\d|Sampler: |CFG scale: )")
_EDIT_MODEL = re.compile(r"(?:edit|kontext|inpaint|pix2pix|[-_.]fill)", re.IGNORECASE)
_MODELS = re.compile(r"(?:Model|Unet|\"(?:diffusion_)?model\")\s?:\s?\"?([^,\"\n]{1,200})")
_JOB = re.compile(r"Job ID: [0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SIGNATURE = re.compile(r"Signature: ?[A-Za-z0-9+/=_-]{40,}")
_FLAGS = re.compile(r"\s-[sSWHC]\s?\d")
_AFTERWARDS = re.compile(r"Postprocess|[Uu]pscale|GFPGAN|CodeFormer")
_LABEL = re.compile(r'"Label"\s*:\s*"?([123])"?')

_SURENESS = {"1": None, "2": 0.6, "3": 0.6}
"""TC260: the content is (1), may be (2) or is suspected to be (3) generated."""


def unpack(text: str) -> Metadata:
    """The notes of a text that was hidden in the pixels: settings, or a JSON object of texts."""
    found = Metadata()
    data = graphs.parse(text)
    if isinstance(data, dict):
        for name, value in list(data.items())[:MAX_NOTES]:
            if isinstance(value, str):
                found.add("pixels", str(name).lower(), value)
    found.add("pixels", "parameters", text)
    return found


def read(metadata: Metadata) -> list[Evidence]:
    """What generators, editors and cameras say of themselves, once each."""
    fields: dict[str, str] = {}
    for note in metadata.notes:
        fields.setdefault(note.name, note.text)
    found: dict[str, Evidence] = {}
    for note in metadata.notes:
        for maker, evidence in _one(note, fields):
            known = found.get(maker)
            if known is None or (known.claim == GENERATED and evidence.claim == EDITED):
                found[maker] = evidence
    # The same program named in a field adds nothing to the settings that it wrote.
    for note in metadata.notes:
        if note.name in _NAMING:
            for maker, evidence in _named(note):
                found.setdefault(maker, evidence)
    if not any(evidence.claim in (GENERATED, EDITED) for evidence in found.values()):
        found |= _camera(fields)
    return list(found.values())


def _one(note: Note, fields: Mapping[str, str]) -> Iterator[tuple[str, Evidence]]:
    text, where = note.text, note.place
    match note.name:
        case "digitalsourcetype" | "digitalsourcefiletype":
            if known := source_type(text):
                kind, claim = known
                yield f"type {claim}", Evidence(f"{where}: {kind}", claim)
            return
        case "provenance":
            if text.startswith(("http://", "https://")):
                yield "remote", Evidence("names a C2PA manifest elsewhere, which is not fetched")
            return
        case "aigc":
            yield from _labelled(text, where)
            return
        case "invokeai_metadata" | "sd-metadata" | "invokeai_graph" | "invokeai_workflow":
            yield from _invoke(note)
            return
        case "dream" if _FLAGS.search(text):
            claim = (
                EDITED if re.search(r"\s(?:-I|--init_img|-M|--init_mask)\s", text) else GENERATED
            )
            yield "InvokeAI", _say("InvokeAI", where, claim)
            return
        case "postprocessing" if _AFTERWARDS.search(text):
            yield "upscaler", _say("AI upscaling or face restoration", where, EDITED)
            return
        case "imagedescription" if _SIGNATURE.fullmatch(text):
            if _UUID.fullmatch(fields.get("artist", "")):
                yield "Grok", _say("Grok", "EXIF signature", GENERATED)
            return
    if note.name in ("make", "model", "imagedescription"):
        # ComfyUI's WebP: "workflow:{…}" and "prompt:{…}" in fields for cameras.
        head, _, rest = text.partition(":")
        if head.strip().lower() in ("prompt", "workflow") and rest.lstrip().startswith("{"):
            yield from _comfy(rest, where)
            return
    if note.name in ("prompt", "workflow"):
        yield from _comfy(text, where)
        return
    if _JOB.search(text) and note.name in ("description", "imagedescription", "comment"):
        yield "Midjourney", _say("Midjourney", where, GENERATED)
    if text.lstrip()[:1] == "{":
        yield from _json(note, fields)
    elif note.name in ("parameters", "usercomment", "comment", "description", "xpcomment"):
        yield from _settings(text, where, fields)


def _say(maker: str, where: str, claim: str, version: str = "", how: str = "") -> Evidence:
    """One line of evidence. `version` counts only in the form of a version."""
    known = _VERSION.search(version[:200]) if version else None
    name = f"{maker} {known.group()}" if known else maker
    return Evidence(f"{name}, in {where}" + (f": {how}" if how else ""), claim)


def _settings(text: str, where: str, fields: Mapping[str, str]) -> Iterator[tuple[str, Evidence]]:
    """The settings that AUTOMATIC1111's web UI began and many programs write alike."""
    lines = list(_SETTINGS.finditer(text))
    if not lines or not _SETTINGS_ALSO.search(lines[-1].group()):
        return
    # What stands before is prompts, and what a prompt says is no setting.
    settings = text[lines[-1].start() :]
    maker, version = "AUTOMATIC1111", _value(settings, "Version")
    app = _value(settings, "App")
    for other in ("stable-diffusion.cpp", "ComfyUI", "Fooocus", "SD.Next", "Draw Things"):
        if other.lower() in f"{version} {app}".lower():
            maker = other
    if version.startswith(("f0", "f1", "f2")):
        maker = "Forge"
    if "fooocus_scheme" in fields:
        maker = "Fooocus"
    if "Civitai resources:" in settings or "Civitai metadata:" in settings:
        maker = "Civitai"
    inpainted = any(
        f"{name}: " in settings
        for name in ("Mask blur", "Masked content", "Inpaint area", "Masked area padding")
    )
    reworked = "Denoising strength: " in settings and "Hires " not in settings
    edits = any(_EDIT_MODEL.search(name) for name in _MODELS.findall(settings))
    if inpainted:
        yield maker, _say(maker, where, EDITED, version, "a masked part was made anew")
    elif reworked:
        yield maker, _say(maker, where, EDITED, version, "from a picture")
    elif edits and maker == "stable-diffusion.cpp":
        yield maker, _say(maker, where, EDITED, version, "by a model that edits pictures")
    else:
        yield maker, _say(maker, where, GENERATED, version)


def _value(settings: str, name: str) -> str:
    at = settings.rfind(f"{name}: ")
    return settings[at + len(name) + 2 :].split(",", 1)[0].strip()[:64] if at >= 0 else ""


def _comfy(text: str, where: str) -> Iterator[tuple[str, Evidence]]:
    nodes = graphs.graph(graphs.parse(text))
    if nodes:
        claim, how = graphs.claim(nodes)
        yield "ComfyUI", _say("ComfyUI", f"{where} graph", claim, how=how)


def _labelled(text: str, where: str) -> Iterator[tuple[str, Evidence]]:
    """The label that GB 45438-2025 demands of services in China (TC260)."""
    if label := _LABEL.search(text[:4096]):
        number = label.group(1)
        detail = f"AIGC label {number} (TC260), in {where}"
        yield "AIGC", Evidence(detail, GENERATED, likelihood=_SURENESS[number])


def _invoke(note: Note) -> Iterator[tuple[str, Evidence]]:
    data = graphs.parse(note.text)
    if not isinstance(data, dict):
        return
    image = data.get("image")
    image = image if isinstance(image, dict) else {}
    mode = f"{_string(data, 'generation_mode')} {_string(image, 'type')}"
    names = _node_kinds(data) if note.name == "invokeai_graph" else ""
    edited = any(word in mode for word in ("img2img", "inpaint", "outpaint"))
    edited |= (
        "denoise_mask" in names or "create_denoise_mask" in names or "init_image_path" in image
    )
    claim = EDITED if edited else GENERATED
    version = _string(data, "app_version")
    yield "InvokeAI", _say("InvokeAI", note.place, claim, version)


def _node_kinds(data: Mapping[str, Any]) -> str:
    nodes = data.get("nodes")
    steps = list(nodes.values())[:4096] if isinstance(nodes, dict) else []
    return " ".join(_string(step, "type") for step in steps if isinstance(step, dict))


def _json(note: Note, fields: Mapping[str, str]) -> Iterator[tuple[str, Evidence]]:
    """Settings written as one JSON object, told apart by the names that they use."""
    data = graphs.parse(note.text)
    if not isinstance(data, dict):
        return
    where = note.place
    if "AIGC" in data or "ContentProducer" in data:
        label = data.get("AIGC", data)
        label = graphs.parse(label) if isinstance(label, str) else label
        number = str(label.get("Label", "")) if isinstance(label, dict) else ""
        if number in _SURENESS:
            yield from _labelled(f'"Label":"{number}"', where)
    elif isinstance(data.get("sui_image_params"), dict):
        params = data["sui_image_params"]
        edited = any(name.startswith(("initimage", "maskimage", "maskblur")) for name in params)
        version = _string(params, "swarm_version")
        yield "SwarmUI", _say("SwarmUI", where, EDITED if edited else GENERATED, version)
    elif {"prompt", "uc", "steps"} <= data.keys():
        kind = _string(data, "request_type")
        edited = any(word in kind for word in ("Img2Img", "Infill", "Image2Image"))
        version = _string(fields, "source").rsplit(" ", 1)[0]
        yield "NovelAI", _say("NovelAI", where, EDITED if edited else GENERATED, version)
    elif "fooocus" in _string(data, "version").lower() or "fooocus_scheme" in fields:
        version = _string(data, "version")
        edited = any(name.startswith("inpaint_") for name in data)
        yield "Fooocus", _say("Fooocus", where, EDITED if edited else GENERATED, version)
    elif {"c", "sampler", "seed", "steps"} <= data.keys():
        strength = data.get("strength", 1)
        edited = isinstance(strength, int | float) and strength < 1
        yield "Draw Things", _say("Draw Things", where, EDITED if edited else GENERATED)
    elif _string(data, "schema").startswith("sdcpp.image.params/"):
        yield "stable-diffusion.cpp", _say("stable-diffusion.cpp", where, GENERATED)
    elif nodes := graphs.graph(data):
        claim, how = graphs.claim(nodes)
        yield "ComfyUI", _say("ComfyUI", f"{where} graph", claim, how=how)
    elif {"prompt", "workflow"} & data.keys():
        for name in ("prompt", "workflow"):
            inner = data.get(name)
            nodes = graphs.graph(graphs.parse(inner) if isinstance(inner, str) else inner)
            if nodes:
                claim, how = graphs.claim(nodes)
                yield "ComfyUI", _say("ComfyUI", f"{where} graph", claim, how=how)


def _named(note: Note) -> Iterator[tuple[str, Evidence]]:
    text, where = note.text[:400], note.place
    for name, pattern in _EDITORS.items():
        if pattern.search(text):
            yield f"edited {name}", _say(name, where, EDITED)
            return
    for name, pattern in _PROGRAMS.items():
        if found := pattern.search(text):
            # A version stands right behind the name, or not at all.
            rest = re.match(r"[\s/]*[vV]?(\d[\w.+-]{0,30})", text[found.end() :])
            version = rest.group(1) if rest else ""
            yield name, _say(name, where, GENERATED, version)


def _camera(fields: Mapping[str, str]) -> dict[str, Evidence]:
    """EXIF of a camera. Anyone can write it: it is told, and weighs nothing."""
    if not fields.get("model"):
        return {}
    words: Sequence[str] = fields.get("make", "").lower().split()
    for word in words[:2]:
        if word in _CAMERAS:
            return {"camera": Evidence(f"EXIF names a camera of {_CAMERAS[word]}", CAPTURED)}
    return {}


def _string(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name)
    return value if isinstance(value, str) else ""
