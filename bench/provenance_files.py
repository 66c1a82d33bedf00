"""Files with provenance that tests and benchmarks make: what generators, editors and cameras write.

Each follows the documentation or the source of the program that it imitates, with words that stand
for a prompt: none of `SECRETS` may ever be in a finding.
"""

from __future__ import annotations

import datetime
import gzip
import io
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from pictures import chunk

PROMPT = "zzquince marmalade on a windowsill"
NEGATIVE = "zzblurry teaspoon"
SECRETS = ("zzquince", "zzblurry", "marmalade", "windowsill", "teaspoon")

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@dataclass(frozen=True, slots=True)
class File:
    """A file and what is to be read from it."""

    name: str
    data: bytes
    claim: str | None
    """None: nothing may be found."""
    maker: str = ""
    """What the detail must name."""


def picture(side: int = 96) -> Image.Image:
    """A picture with colours and shapes."""
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    colours = [
        120 + 80 * np.sin(across / 11) * np.cos(down / 17),
        100 + 90 * np.sin((across + down) / 23),
        128 + 60 * np.cos(across * down / 900),
    ]
    return Image.fromarray(np.stack(colours, axis=-1).clip(0, 255).astype(np.uint8))


def png(texts: Mapping[str, str], *, kind: str = "tEXt", image: Image.Image | None = None) -> bytes:
    """A PNG with texts; `kind` is `tEXt`, `zTXt` or `iTXt`."""
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        if kind == "iTXt":
            info.add_itxt(name, text)
        else:
            info.add_text(name, text, zip=kind == "zTXt")
    buffer = io.BytesIO()
    (image or picture()).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def saved(kind: str, **options: Any) -> bytes:
    """The picture in a format of Pillow's, with `exif` or `xmp` as it takes them."""
    buffer = io.BytesIO()
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    picture().save(buffer, kind, **options)
    return buffer.getvalue()


def exif(tags: Mapping[int, str | bytes], inner: Mapping[int, str | bytes] | None = None) -> bytes:
    """An EXIF block with `Exif\\0\\0` in front; `inner` go into the EXIF directory."""
    block = Image.Exif()
    for tag, value in tags.items():
        block[tag] = value
    for tag, value in (inner or {}).items():
        block.get_ifd(0x8769)[tag] = value
    return block.tobytes()


def comment(text: str, code: str = "utf-16-be") -> bytes:
    """A user comment of EXIF: in UTF-16 as AUTOMATIC1111 and its kin write it, or in ASCII."""
    return (b"UNICODE\0" if "16" in code else b"ASCII\0\0\0") + text.encode(code)


def packet(properties: str, namespaces: str = "") -> bytes:
    """An XMP packet around elements."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
        'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:exif="http://ns.adobe.com/exif/1.0/" {namespaces}>{properties}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def source_type(name: str) -> bytes:
    """An XMP packet that names a digital source type."""
    return packet(
        f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}{name}</Iptc4xmpExt:DigitalSourceType>"
    )


def gif(xmp: bytes = b"", remark: bytes = b"") -> bytes:
    """A GIF with an XMP packet or a comment."""
    plain = saved("GIF")
    table = 13 + (3 << (plain[10] & 7) + 1)
    extra = b""
    if xmp:
        trailer = b"\1" + bytes(range(255, -1, -1)) + b"\0"
        extra += b"\x21\xff\x0bXMP DataXMP" + xmp + trailer
    if remark:
        extra += b"\x21\xfe" + bytes([len(remark)]) + remark + b"\0"
    return plain[:table] + extra + plain[table:]


def mp4(name: str, value: str) -> bytes:
    """Boxes of an MP4 without a track, with one keyed text."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(body), kind) + body

    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = box(b"keys", bytes(4) + struct.pack(">I", 1) + box(b"mdta", name.encode()))
    data = box(b"data", struct.pack(">II", 1, 0) + value.encode())
    values = box(b"ilst", box(struct.pack(">I", 1), data))
    meta = box(b"meta", bytes(4) + handler + keys + values)
    return box(b"ftyp", b"isom\0\0\2\0isomiso2mp41") + box(b"moov", box(b"udta", meta))


def boxed(xmp: bytes) -> bytes:
    """An MP4 without a track, with an XMP packet in a box of its own."""
    kind = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
    head = struct.pack(">I4s4sI4s", 20, b"ftyp", b"isom", 512, b"mp41")
    return head + (struct.pack(">I4s", 24 + len(xmp), b"uuid") + kind + xmp if xmp else b"")


def raw_profile(kind: str, data: bytes) -> bytes:
    """A PNG with a profile as ImageMagick writes it."""
    digits = data.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\n{kind}\n{len(data):8}\n{lines}\n"
    return png({f"Raw profile type {kind}": text}, kind="zTXt")


def extended(xmp: bytes) -> bytes:
    """A JPEG whose XMP is in two parts behind an almost empty main packet."""
    plain = saved("JPEG", xmp=packet("<xmpNote:HasExtendedXMP>x</xmpNote:HasExtendedXMP>"))
    at = plain.index(b"\xff\xdb")
    middle = len(xmp) // 2
    parts = b""
    for offset, part in ((middle, xmp[middle:]), (0, xmp[:middle])):
        body = b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32
        body += struct.pack(">II", len(xmp), offset) + part
        parts += struct.pack(">HH", 0xFFE1, len(body) + 2) + body
    return plain[:at] + parts + plain[at:]


def film(frames: int = 6) -> bytes:
    """A short MP4."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width = stream.height = 96
        stream.pix_fmt = "yuv420p"
        for place in range(frames):
            turned = picture().rotate(place * 5)
            container.mux(stream.encode(av.VideoFrame.from_image(turned)))
        container.mux(stream.encode())
    return buffer.getvalue()


def with_iptc(records: Mapping[int, str]) -> bytes:
    """A JPEG with IPTC records in Photoshop's resources."""
    data = b"".join(
        struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text.encode()
        for number, text in records.items()
    )
    resource = b"8BIM" + struct.pack(">HHI", 0x0404, 0, len(data)) + data + b"\0" * (len(data) & 1)
    body = b"Photoshop 3.0\0" + resource
    plain = saved("JPEG")
    return plain[:2] + struct.pack(">HH", 0xFFED, len(body) + 2) + body + plain[2:]


def stealth(text: str, *, alpha: bool, packed: bool) -> bytes:
    """A PNG with a text in the lowest bits of its pixels, column by column."""
    magic = {(True, False): "pnginfo", (True, True): "pngcomp", (False, False): "rgbinfo"}
    data = text.encode()
    if packed:
        data = gzip.compress(data, mtime=0)
    name = magic.get((alpha, packed), "rgbcomp")
    whole = f"stealth_{name}".encode() + struct.pack(">I", 8 * len(data)) + data
    pixels = np.array(picture(128).convert("RGBA" if alpha else "RGB"))
    channels = pixels[..., 3:] if alpha else pixels
    lowest = channels.transpose(1, 0, 2).reshape(-1).copy()
    bits = np.unpackbits(np.frombuffer(whole, np.uint8))
    lowest[: len(bits)] = lowest[: len(bits)] & 0xFE | bits
    turned = channels.transpose(1, 0, 2).shape
    pixels[..., 3 if alpha else 0 :] = lowest.reshape(turned).transpose(1, 0, 2)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def marked(
    pixels: NDArray[np.uint8], message: list[int], *, grey: float, swapped: bool = False
) -> NDArray[np.uint8]:
    """A picture with the watermark of `invisible-watermark`'s way `dwtDct`, value by value.

    A twin of the embedder: of each block the value that is furthest from zero, beside the first,
    goes to a quarter (0) or three quarters (1) of a step of 36.
    """
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    colours = pixels.astype(np.float64)
    order = [2, 1, 0] if swapped else [0, 1, 2]
    red, green, blue = (colours[:height, :width, channel] for channel in order)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    difference = 0.492 * (blue - luma) + grey / 2
    corners = [difference[down::2, across::2] for down in (0, 1) for across in (0, 1)]
    low = sum(corners) / 2
    before = low.copy()
    count = 0
    for top in range(0, low.shape[0] // 4 * 4, 4):
        for left in range(0, low.shape[1] // 4 * 4, 4):
            block = low[top : top + 4, left : left + 4]
            place = int(np.abs(block).flatten()[1:].argmax()) + 1
            value = block[place // 4, place % 4]
            moved = (abs(value) // 36 + 0.25 + 0.5 * message[count % len(message)]) * 36
            block[place // 4, place % 4] = moved if value >= 0 else -moved
            count += 1
    change = np.repeat(np.repeat((low - before) / 2, 2, axis=0), 2, axis=1)
    # Only B − Y changes; luma and R − Y stay.
    blue = blue + change / 0.492
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    done = colours.copy()
    done[:height, :width] = np.stack([(red, green, blue)[place] for place in order], axis=-1)
    return np.asarray(done.round().clip(0, 255), np.uint8)


def settings(**more: str) -> str:
    """The text of AUTOMATIC1111 and its kin."""
    values = {
        "Steps": "20",
        "Sampler": "DPM++ 2M",
        "Schedule type": "Karras",
        "CFG scale": "7",
        "Seed": "1234567",
        "Size": "512x512",
        "Model hash": "6ce0161689",
        "Model": "v1-5-pruned-emaonly",
    } | {name.replace("_", " "): value for name, value in more.items()}
    line = ", ".join(f"{name}: {value}" for name, value in values.items())
    return f"{PROMPT}\nNegative prompt: {NEGATIVE}\n{line}"


def comfy(*, load: str = "", latent: str = "EmptyLatentImage", guide: str = "") -> dict[str, Any]:
    """A graph of ComfyUI as its `prompt` has it."""
    nodes: dict[str, Any] = {
        "3": {
            "class_type": "KSampler",
            "inputs": {
                "seed": 5,
                "steps": 20,
                "denoise": 0.6 if load else 1,
                "model": ["4", 0],
                "positive": ["6", 0],
                "negative": ["7", 0],
                "latent_image": ["5", 0],
            },
        },
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "m.safetensors"}},
        "5": {"class_type": latent, "inputs": {"width": 512, "height": 512}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"text": PROMPT, "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": NEGATIVE, "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    }
    if load:
        nodes["10"] = {"class_type": load, "inputs": {"image": "photo.png"}}
        if guide:
            nodes["11"] = {
                "class_type": guide,
                "inputs": {"conditioning": ["6", 0], "image": ["10", 0], "strength": 1},
            }
            nodes["3"]["inputs"]["positive"] = ["11", 0]
        else:
            nodes["5"]["inputs"] = {"pixels": ["10", 0], "vae": ["4", 2], "mask": ["10", 1]}
    return nodes


def workflow(nodes: Mapping[str, Any]) -> dict[str, Any]:
    """The same graph as ComfyUI's editor keeps it."""
    drawn, links = [], []
    for name, node in nodes.items():
        inputs = []
        for slot, source in node["inputs"].items():
            if isinstance(source, list):
                links.append([len(links) + 1, int(source[0]), source[1], int(name), 0, "*"])
                inputs.append({"name": slot, "type": "*", "link": len(links)})
        drawn.append({"id": int(name), "type": node["class_type"], "mode": 0, "inputs": inputs})
    return {"last_node_id": 20, "nodes": drawn, "links": links, "version": 0.4}


def novel(request: str) -> dict[str, str]:
    """The texts of NovelAI's PNG."""
    inner = {
        "prompt": PROMPT,
        "uc": NEGATIVE,
        "steps": 28,
        "sampler": "k_euler",
        "n_samples": 1,
        "request_type": request,
        "signed_hash": "AbCd==",
    }
    return {
        "Title": "NovelAI generated image",
        "Description": PROMPT,
        "Software": "NovelAI",
        "Source": "NovelAI Diffusion V4.5 4BDE2A90",
        "Comment": json.dumps(inner),
    }


def _sdcpp(model: str) -> str:
    tail = {
        "generator": {"name": "stable-diffusion.cpp", "version": "master-709"},
        "models": {"diffusion_model": model},
        "prompt": {"positive": PROMPT, "negative": NEGATIVE},
        "schema": "sdcpp.image.params/v1",
        "strength": 0.75,
    }
    return (
        f"{PROMPT}\nSteps: 20, CFG scale: 7.0, Guidance: 3.5, Eta: 0.0, Seed: 42, Size: 512x512, "
        f"Model: , RNG: cuda, Sampler: euler, Unet: {model}, Version: stable-diffusion.cpp, "
        f"SDCPP: {json.dumps(tail, separators=(',', ':'))}"
    )


_FOOOCUS = {
    "adm_guidance": "(1.5, 0.8, 0.3)",
    "base_model": "juggernautXL",
    "full_prompt": [PROMPT],
    "metadata_scheme": "fooocus",
    "prompt": PROMPT,
    "seed": "1",
    "steps": 30,
    "version": "Fooocus v2.5.5",
}
_SWARM = {"prompt": PROMPT, "model": "m", "seed": 1, "steps": 20, "swarm_version": "0.9.3.1"}
_LABEL = {"Label": "1", "ContentProducer": "001191440300", "ProduceID": "p1", "ReservedCode1": ""}
_THINGS = {"c": PROMPT, "uc": NEGATIVE, "sampler": "DPM++ 2M", "seed": 1, "steps": 8, "scale": 4}
_JOB = "Job ID: 0a1b2c3d-1111-2222-3333-444455556666"


def generators() -> Iterator[File]:
    """What generators and editors with AI write, and what is read from it."""
    gen, edit = "generated", "edited"
    web = "AUTOMATIC1111"
    yield File("A1111 PNG", png({"parameters": settings(Version="v1.10.1")}), gen, f"{web} v1.10.1")
    yield File("A1111 zTXt", png({"parameters": settings()}, kind="zTXt"), gen, web)
    yield File("A1111 iTXt", png({"parameters": settings()}, kind="iTXt"), gen, web)
    fixed = settings(Denoising_strength="0.5", Hires_upscale="2", Hires_upscaler="Latent")
    yield File("A1111 hires fix", png({"parameters": fixed}), gen, web)
    reworked = settings(Denoising_strength="0.75", Version="v1.9.4")
    yield File("A1111 img2img", png({"parameters": reworked}), edit, web)
    inpainted = settings(Denoising_strength="0.75", Mask_blur="4", Inpaint_area="Only masked")
    yield File("A1111 inpaint", png({"parameters": inpainted}), edit, f"{web}, in PNG parameters")
    block = exif({}, {0x9286: comment(settings())})
    yield File("A1111 JPEG", saved("JPEG", exif=block), gen, web)
    yield File("A1111 WebP", saved("WEBP", exif=block), gen, web)
    yield File("A1111 AVIF", saved("AVIF", exif=block), gen, web)
    little = exif({}, {0x9286: comment(reworked, "utf-16-le")})
    yield File("A1111 JPEG little-endian", saved("JPEG", exif=little), edit, web)
    ascii_ = exif({}, {0x9286: comment(settings(), "ascii")})
    yield File("A1111 JPEG ASCII", saved("JPEG", exif=ascii_), gen, web)
    upscaled = {"postprocessing": "Postprocess upscale by: 4, Postprocess upscaler: R-ESRGAN 4x+"}
    yield File("A1111 extras", png(upscaled), edit, "upscaling")
    forge = settings(Version="f2.0.1v1.10.1-previous-659-gc055f2d4")
    yield File("Forge", png({"parameters": forge}), gen, "Forge f2.0.1v1")
    yield File("SD.Next", png({"parameters": settings(App="SD.Next")}), gen, "SD.Next")
    site = settings(Civitai_resources='[{"type":"checkpoint"}]', Civitai_metadata="{}")
    civit = exif({}, {0x9286: comment(site)})
    yield File("Civitai", saved("JPEG", exif=civit), gen, "Civitai")

    ui = "ComfyUI"
    words = json.dumps(comfy())
    yield File("ComfyUI", png({"prompt": words}), gen, "from words")
    both = {"prompt": words, "workflow": json.dumps(workflow(comfy()))}
    yield File("ComfyUI with workflow", png(both), gen, ui)
    drawn = json.dumps(workflow(comfy(load="LoadImage", latent="VAEEncode")))
    yield File("ComfyUI workflow alone", png({"workflow": drawn}), edit, "from a picture")
    loaded = json.dumps(comfy(load="LoadImage", latent="VAEEncode"))
    yield File("ComfyUI img2img", png({"prompt": loaded}), edit, "from a picture")
    masked = json.dumps(comfy(load="LoadImage", latent="VAEEncodeForInpaint"))
    yield File("ComfyUI inpaint", png({"prompt": masked}), edit, ui)
    guided = json.dumps(comfy(load="LoadImage", guide="ControlNetApply"))
    yield File("ComfyUI ControlNet", png({"prompt": guided}), gen, "guided by a picture")
    told = json.dumps(comfy(load="LoadImage", guide="TextEncodeQwenImageEdit"))
    yield File("ComfyUI edit by instruction", png({"prompt": told}), edit, "edited in place")
    gaps = words.replace('"seed": 5', '"is_changed": [NaN], "seed": 5')
    yield File("ComfyUI with NaN", png({"prompt": gaps}), gen, ui)
    webp = exif({0x010F: f"workflow:{drawn}", 0x0110: f"prompt:{loaded}"})
    yield File("ComfyUI WebP", saved("WEBP", exif=webp), edit, ui)
    video = mp4("comment", json.dumps({"prompt": words}))
    yield File("ComfyUI video", video, gen, ui)

    invoke = {"app_version": "5.6.0", "positive_prompt": PROMPT, "generation_mode": "flux_txt2img"}
    yield File("InvokeAI", png({"invokeai_metadata": json.dumps(invoke)}), gen, "InvokeAI 5.6.0")
    invoke["generation_mode"] = "sdxl_inpaint"
    yield File("InvokeAI inpaint", png({"invokeai_metadata": json.dumps(invoke)}), edit, "InvokeAI")
    invoke["generation_mode"] = "img2img"
    yield File("InvokeAI img2img", png({"invokeai_metadata": json.dumps(invoke)}), edit, "InvokeAI")
    old = {"app_id": "invoke-ai/InvokeAI", "app_version": "2.2.4"}
    old_image = old | {"image": {"type": "txt2img", "prompt": [{"prompt": PROMPT}]}}
    yield File("InvokeAI 2", png({"sd-metadata": json.dumps(old_image)}), gen, "InvokeAI 2.2.4")
    old_edit = old | {"image": {"type": "img2img", "init_image_path": "/x.png"}}
    yield File("InvokeAI 2 img2img", png({"sd-metadata": json.dumps(old_edit)}), edit, "InvokeAI")
    dream = f'"{PROMPT}" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms'
    yield File("InvokeAI 1", png({"Dream": dream}), gen, "InvokeAI")
    yield File("InvokeAI 1 img2img", png({"Dream": f"{dream} -I a.png -f 0.7"}), edit, "InvokeAI")

    yield File("NovelAI", png(novel("PromptGenerateRequest")), gen, "NovelAI V4.5")
    yield File("NovelAI img2img", png(novel("Img2ImgRequest")), edit, "NovelAI")
    yield File("NovelAI infill", png(novel("NativeInfillingRequest")), edit, "NovelAI")
    hidden = json.dumps(novel("PromptGenerateRequest"))
    yield File("NovelAI stealth", stealth(hidden, alpha=True, packed=True), gen, "NovelAI")
    infilled = json.dumps(novel("NativeInfillingRequest"))
    yield File("NovelAI stealth edit", stealth(infilled, alpha=True, packed=True), edit, "NovelAI")
    yield File("stealth alpha", stealth(settings(), alpha=True, packed=False), gen, web)
    yield File("stealth RGB", stealth(settings(), alpha=False, packed=False), gen, web)
    yield File("stealth RGB packed", stealth(reworked, alpha=False, packed=True), edit, web)
    texts = novel("PromptGenerateRequest")
    block = exif({0x0131: "NovelAI", 0x010E: PROMPT}, {0x9286: comment(texts["Comment"], "ascii")})
    yield File("NovelAI WebP", saved("WEBP", exif=block), gen, "NovelAI")

    scheme = {"parameters": json.dumps(_FOOOCUS), "fooocus_scheme": "fooocus"}
    yield File("Fooocus", png(scheme), gen, "Fooocus v2.5.5")
    alike = {"parameters": settings(Version="Fooocus v2.5.5"), "fooocus_scheme": "a1111"}
    yield File("Fooocus as A1111", png(alike), gen, "Fooocus v2.5.5")
    inner = {0x9286: comment(json.dumps(_FOOOCUS), "ascii"), 0x927C: b"fooocus"}
    block = exif({0x0131: "Fooocus v2.5.5"}, inner)
    yield File("Fooocus JPEG", saved("JPEG", exif=block), gen, "Fooocus")

    swarm = {"sui_image_params": _SWARM, "sui_extra_data": {"date": "2026-01-01"}}
    yield File("SwarmUI", png({"parameters": json.dumps(swarm)}), gen, "SwarmUI 0.9.3.1")
    block = exif({}, {0x9286: comment(json.dumps(swarm))})
    yield File("SwarmUI JPEG", saved("JPEG", exif=block), gen, "SwarmUI")
    swarm["sui_image_params"] = _SWARM | {"initimagecreativity": 0.4}
    yield File("SwarmUI init image", png({"parameters": json.dumps(swarm)}), edit, "SwarmUI")

    cpp = "stable-diffusion.cpp"
    yield File(cpp, png({"parameters": _sdcpp("z_image.safetensors")}), gen, cpp)
    edits = _sdcpp("qwen-image-edit-2511.gguf")
    yield File(f"{cpp} edit", png({"parameters": edits}), edit, cpp)
    escaped = _sdcpp("flux1-dev.gguf").replace("&", "&amp;").replace("<", "&lt;")
    boxed = packet(f"<sdcpp:parameters>{escaped}</sdcpp:parameters>", 'xmlns:sdcpp="urn:sdcpp"')
    yield File(f"{cpp} WebP", saved("WEBP", xmp=boxed), gen, cpp)

    things = json.dumps(_THINGS | {"strength": 1}).replace('"', "&quot;")
    remark = f"<exif:UserComment><rdf:Alt><rdf:li>{things}</rdf:li></rdf:Alt></exif:UserComment>"
    tool = "<xmp:CreatorTool>Draw Things</xmp:CreatorTool>"
    xml = {"XML:com.adobe.xmp": packet(remark + tool).decode()}
    yield File("Draw Things", png(xml, kind="iTXt"), gen, "Draw Things")

    journey = {"Description": f"{PROMPT} --v 6.1 {_JOB}", "Author": "someone"}
    yield File("Midjourney", png(journey), gen, "Midjourney")
    seen = packet(
        f"<dc:description><rdf:Alt><rdf:li>{PROMPT} {_JOB}</rdf:li></rdf:Alt></dc:description>"
    )
    yield File("Midjourney JPEG", saved("JPEG", xmp=seen), gen, "Midjourney")
    signed = {0x010E: "Signature: " + "Ab3+" * 20, 0x013B: "0a1b2c3d-1111-2222-3333-444455556666"}
    yield File("Grok", saved("JPEG", exif=exif(signed)), gen, "Grok")
    for tool, maker in (
        ("Adobe Firefly", "Adobe Firefly"),
        ("Firefly Image 4", "Adobe Firefly"),
        ("DALL-E 3", "DALL-E"),
        ("OpenAI gpt-image-1", "OpenAI"),
        ("Made with Google AI", "Google AI"),
        ("Bing Image Creator", "Bing Image Creator"),
        ("Ideogram AI", "Ideogram"),
        ("Stability AI", "Stable Diffusion"),
        ("Image Playground", "Apple Image Playground"),
    ):
        block = exif({0x0131: tool})
        yield File(f"EXIF {tool}", saved("JPEG", exif=block), gen, maker)
        named = packet(f"<xmp:CreatorTool>{tool}</xmp:CreatorTool>")
        yield File(f"XMP {tool}", saved("WEBP", xmp=named), gen, maker)
    google = with_iptc({110: "Edited with Google AI"})
    yield File("Google's magic editor", google, edit, "Google AI")
    cleaned = packet("<photoshop:Credit>Apple Photos Clean Up</photoshop:Credit>")
    yield File("Apple's clean-up", saved("JPEG", xmp=cleaned), edit, "Apple Clean Up")

    label = json.dumps(_LABEL)
    yield File("AIGC PNG", png({"AIGC": label}), gen, "AIGC label 1")
    nested = exif({}, {0x9286: comment(json.dumps({"AIGC": _LABEL}), "ascii")})
    yield File("AIGC JPEG", saved("JPEG", exif=nested), gen, "AIGC label 1")
    quoted = label.replace('"', "&quot;")
    space = 'xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/"'
    boxed = packet(f"<TC260:AIGC>{quoted}</TC260:AIGC>", space)
    yield File("AIGC XMP", saved("WEBP", xmp=boxed), gen, "AIGC label 1")
    yield File("AIGC behind the picture", saved("PNG") + boxed, gen, "AIGC label 1")
    yield File("AIGC video", mp4("AIGC", label), gen, "AIGC label 1")
    yield File("AIGC sound", b"ID3\4\0\0\0\0\0\0TXXX" + label.encode() + bytes(64), gen, "AIGC")


def source_types() -> Iterator[File]:
    """IPTC's digital source type, in every place and way of writing."""
    made = source_type("trainedAlgorithmicMedia")
    mixed = source_type("compositeWithTrainedAlgorithmicMedia")
    name = "trainedalgorithmicmedia"
    for kind in ("JPEG", "WEBP", "AVIF", "HEIF"):
        yield File(f"source type {kind}", saved(kind, xmp=made), "generated", name)
    xml = {"XML:com.adobe.xmp": mixed.decode()}
    yield File("source type PNG", png(xml, kind="iTXt"), "edited", f"compositewith{name}")
    yield File("source type TIFF", saved("TIFF", tiffinfo={700: made}), "generated", name)
    yield File("source type GIF", gif(xmp=made), "generated", name)
    yield File("source type MP4", boxed(made), "generated", name)
    yield File("source type in a raw profile", raw_profile("xmp", made), "generated", name)
    yield File("source type in extended XMP", extended(made), "generated", name)
    yield File("source type behind a film", boxed(b"") + bytes(9) + made, "generated", name)
    attribute = made.replace(
        b'rdf:about=""',
        b'rdf:about="" Iptc4xmpExt:DigitalSourceType="'
        + SOURCE_TYPE.encode()
        + b'compositeSynthetic"',
    )
    attribute = attribute.replace(b"trainedAlgorithmicMedia<", b"x<")
    yield File("source type as attribute", saved("JPEG", xmp=attribute), "edited", "compositesynth")
    link = f'<Iptc4xmpExt:DigitalSourceType rdf:resource="{SOURCE_TYPE}trainedAlgorithmicMedia"/>'
    yield File("source type as link", saved("JPEG", xmp=packet(link)), "generated", name)
    yield File("source type UTF-16", saved("JPEG", xmp=made.decode().encode("utf-16")), "generated")
    cut = made[: made.index(b"</rdf:Description>")]
    yield File("source type cut short", saved("JPEG", xmp=cut), "generated", name)
    taken = source_type("digitalCapture")
    yield File("source type capture", saved("JPEG", xmp=taken), "captured", "digitalcapture")
    drawn = source_type("digitalArt")
    yield File("source type art", saved("JPEG", xmp=drawn), "", "digitalart")


def innocent() -> Iterator[File]:
    """Files in which nothing is said of AI, though some words come near."""
    camera = exif({0x010F: "Canon", 0x0110: "Canon EOS R5", 0x0131: "Adobe Lightroom 14.0"})
    yield File("a camera", saved("JPEG", exif=camera), "captured", "Canon")
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "AVIF"):
        yield File(f"plain {kind}", saved(kind), None)
    yield File("GIMP", png({"Comment": "Created with GIMP"}), None)
    yield File("screenshot", png({"Software": "gnome-screenshot"}), None)
    yield File("a recipe", png({"Description": "Steps: 20, then stir. Seed: poppy"}), None)
    yield File("a caption", png({"Description": "A talk on Midjourney and ComfyUI"}), None)
    yield File("other JSON", png({"Comment": json.dumps({"steps": [1], "seed": 2})}), None)
    drawn = {"nodes": [{"id": 1, "type": "http"}, {"id": 2, "type": "mail"}], "links": [[1, 1, 2]]}
    yield File("another program's nodes", png({"workflow": json.dumps(drawn)}), None)
    asked = json.dumps({"request_type": "GET", "prompt": "who?"})
    yield File("a request", png({"Comment": asked}), None)
    yield File("a dream", png({"Dream": "I was flying - it was fine"}), None)
    yield File("postprocessing", png({"postprocessing": "scanned, deskewed"}), None)
    yield File("a commit", png({"prompt": "what do you see?", "workflow": "ci.yml"}), None)
    for tool in ("Imagen AI Desktop", "Aurora HDR", "f.lux", "Adobe Photoshop 26.0", "Krita"):
        yield File(f"editor {tool}", saved("JPEG", exif=exif({0x0131: tool})), None)
    yield File("thumbnail of a game", gif(remark=b"Made with love"), None)


NOW = datetime.datetime(2026, 1, 1)


@cache
def identity() -> tuple[str, str, bytes]:
    """A root certificate, a signer's chain (both PEM) and its key, made afresh for each process."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [
        x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, common),
            ]
        )
        for organisation, common in (("Example Root", "root"), ("Example Signer", "signer"))
    ]
    issuer = x509.SubjectKeyIdentifier.from_public_key(keys[0].public_key())
    made = []
    for place in range(2):
        authority = place == 0
        builder = (
            x509.CertificateBuilder()
            .subject_name(names[place])
            .issuer_name(names[0])
            .public_key(keys[place].public_key())
            .serial_number(1000 + place)
            .not_valid_before(NOW)
            .not_valid_after(NOW + datetime.timedelta(days=9000))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not authority,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    key_cert_sign=authority,
                    crl_sign=authority,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(keys[place].public_key()), critical=False
            )
        )
        if not authority:
            # C2PA accepts certificates for e-mail protection, beside those for documents.
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(usage, critical=False).add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer),
                critical=False,
            )
        made.append(builder.sign(keys[0], hashes.SHA256()))
    root, leaf = (one.public_bytes(serialization.Encoding.PEM).decode() for one in made)
    key = keys[1].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return root, leaf + root, key


def action(name: str, kind: str = "") -> dict[str, Any]:
    """A C2PA action, with a digital source type or without one."""
    made: dict[str, Any] = {"action": name}
    if name == "c2pa.opened":
        made["parameters"] = {"ingredientIds": ["parentOf"]}
    return made | ({"digitalSourceType": SOURCE_TYPE + kind} if kind else {})


def signed(
    *actions: dict[str, Any],
    kind: str = "JPEG",
    plain: bytes = b"",
    ingredients: Mapping[str, tuple[bytes, str]] | None = None,
    remote: str = "",
    media: str = "",
) -> bytes:
    """A file with a C2PA manifest.

    `ingredients`: relationship → file and its media type. `remote`: the address of a manifest that
    is kept elsewhere, instead of one in the file. `media` is the media type, if not the `kind`'s.
    """
    import c2pa

    _, chain, key = identity()
    manifest = {
        "claim_generator_info": [{"name": "Example Imager", "version": "3.1"}],
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": list(actions)}}],
    }
    builder = c2pa.Builder.from_json(json.dumps(manifest))
    for relationship, (data, type_) in (ingredients or {}).items():
        about = {"title": "before", "relationship": relationship, "instance_id": relationship}
        builder.add_ingredient(json.dumps(about), type_, io.BytesIO(data))
    if remote:
        builder.set_remote_url(remote)
        builder.set_no_embed()
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain.encode(), key, None)
    signer = c2pa.Signer.from_info(info)
    into = io.BytesIO()
    media = media or f"image/{kind.lower()}"
    builder.sign(signer, media, io.BytesIO(plain or saved(kind)), into)
    return into.getvalue()


def huge_text(size: int) -> bytes:
    """A PNG whose compressed text inflates to that many bytes."""
    import zlib

    text = b"parameters\0\0" + zlib.compress(b"a" * size, 9)
    plain = saved("PNG")
    return plain[:33] + chunk(b"zTXt", text) + plain[33:]
