"""Marking: what a guarded model made carries a sign of that when it leaves.

An invisible watermark, which outlasts re-encoding, and a signed C2PA manifest, which says who
vouches for it. A picture that can't be marked as the settings ask does not leave: `MarkingFailed`.
"""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import load_pem_x509_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from tutela import __version__
from tutela.detectors.provenance.evidence import VALID, plain
from tutela.detectors.provenance.manifests import Manifests
from tutela.errors import ConfigurationError, MarkingFailed, Rejected
from tutela.guard import watermark
from tutela.media.sniff import sniff
from tutela.settings import Settings

GENERATED: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
EDITED: Final = (
    "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
)
"""IPTC NewsCodes, Digital Source Type: made by a model, and a picture changed by one."""

_XMP: Final = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-'
    'syntax-ns#"><rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/'
    '2008-02-29/" Iptc4xmpExt:DigitalSourceType="{}"/></rdf:RDF></x:xmpmeta>'
)
_OPENERS: Final[dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
_KEPT_MODES: Final = ("L", "LA", "RGB", "RGBA")
_WIDER_MODES: Final = {"1": "L", "P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
QUALITY: Final = 90
"""Of a lossy WebP, which does not tell the quality it was made at."""


class Marker:
    """Marks pictures as the settings ask for. Threads may share it.

    Raises `ConfigurationError` for a certificate or a key that can't sign.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        own = watermark.keys(settings.watermark_key)[-1]
        self._key = own if settings.mark_watermark else b""
        self._signer = Signer.of(settings)

    @property
    def marks(self) -> bool:
        """Whether anything is marked at all."""
        return bool(self._key) or self._signer is not None

    def __str__(self) -> str:
        signed = "" if self._signer is None else f"a C2PA manifest signed by {self._signer.name}"
        if self._key:
            return (
                f"{signed} and an invisible watermark" if signed else "an invisible watermark alone"
            )
        return signed or "nothing"

    def mark(self, data: bytes, *, edited: bool = False) -> bytes:
        """The picture, marked, in the format it came in: JPEG, PNG or WebP.

        `edited`: a model changed a picture that it was given. The colour profile and EXIF stay;
        other notes do not, as they may hold the prompt. A manifest that is there already becomes an
        ingredient of the new one. Raises `MarkingFailed`; the picture must not leave then.
        """
        if not self.marks:
            return data
        kind, size = self._survey(data)
        made = data
        if self._key and min(size) >= watermark.LEAST:
            made = self._watermarked(kind, data, edited=edited)
        elif self._signer is None:
            raise MarkingFailed(
                f"A picture of {size[0]} × {size[1]} pixels is too small for a watermark; ask "
                f"for at least {watermark.LEAST} on the shorter side, or set mark_certificate."
            )
        if self._signer is None:
            return made
        return self._signer.sign(kind, made, data, edited=edited, watermarked=made is not data)

    def _survey(self, data: bytes) -> tuple[str, tuple[int, int]]:
        if len(data) > self._limits.max_bytes:
            raise MarkingFailed(f"The picture has more than max_bytes, {self._limits.max_bytes}.")
        try:
            kind = sniff(data)
        except Rejected as error:
            raise MarkingFailed("What the model made is no picture that is known.") from error
        if kind not in _OPENERS:
            raise MarkingFailed(
                f"A {kind} file can't be marked; ask the model for PNG, JPEG or WebP."
            )
        with self._opened(kind, data) as image:
            if getattr(image, "n_frames", 1) != 1:
                raise MarkingFailed(f"An animated {kind} can't be marked.")
            if image.width * image.height > self._limits.max_pixels:
                raise MarkingFailed(
                    f"The picture has more than max_pixels, {self._limits.max_pixels}."
                )
            return kind, image.size

    def _opened(self, kind: str, data: bytes) -> ImageFile.ImageFile:
        try:
            return _OPENERS[kind](io.BytesIO(data))
        except Exception as error:  # damaged files raise nearly every built-in exception
            raise MarkingFailed(f"The {kind} file is damaged ({type(error).__name__}).") from error

    def _watermarked(self, kind: str, data: bytes, *, edited: bool) -> bytes:
        """The picture with the watermark and the source type in it, in the same format."""
        with self._opened(kind, data) as image:
            how = _options(image, data, EDITED if edited else GENERATED)
            try:
                image.load()
            except Exception as error:
                raise MarkingFailed(
                    f"The {kind} file is damaged ({type(error).__name__})."
                ) from error
            mode = _WIDER_MODES.get(image.mode, image.mode)
            if mode not in _KEPT_MODES:
                raise MarkingFailed(
                    f"A {kind} of the mode {image.mode} can't be marked; ask the model for 8-bit "
                    "grey or RGB."
                )
            pixels = np.array(image.convert(mode))
        colours = pixels[..., :-1] if mode[-1] == "A" else pixels
        marked = watermark.embed(np.squeeze(colours), edited=edited, key=self._key)
        colours[...] = marked.reshape(colours.shape)
        into = io.BytesIO()
        Image.fromarray(pixels).save(into, kind, **how)
        made = into.getvalue()
        with self._opened(kind, made) as again:
            if watermark.detect(np.asarray(again.convert("L")), (self._key,)) is None:
                raise MarkingFailed(
                    "The watermark can't be read back: the picture is too even to hold one, or is "
                    "stored too coarsely."
                )
        return made


def _options(image: ImageFile.ImageFile, data: bytes, source: str) -> dict[str, Any]:
    """How to store a picture as it was stored, with its profile, and XMP that tells its source."""
    xmp = _XMP.format(source)
    kept = {name: image.info[name] for name in ("icc_profile", "exif") if image.info.get(name)}
    if isinstance(image, PngImagePlugin.PngImageFile):
        notes = PngImagePlugin.PngInfo()
        notes.add_itxt("XML:com.adobe.xmp", xmp)
        return {**kept, "pnginfo": notes}
    kept["xmp"] = xmp.encode()
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        sampling = JpegImagePlugin.get_sampling(image)
        kept |= {"qtables": image.quantization, "optimize": True}
        return kept | ({"subsampling": sampling} if sampling >= 0 else {})
    return kept | ({"lossless": True} if _lossless(data) else {"quality": QUALITY})


def _lossless(webp: bytes) -> bool:
    """Whether a WebP's pixels are in a chunk VP8L (RFC 9649)."""
    at = 12
    while at + 8 <= len(webp):
        if webp[at : at + 4] in (b"VP8L", b"VP8 "):
            return webp[at : at + 4] == b"VP8L"
        at += 8 + (int.from_bytes(webp[at + 4 : at + 8], "little") + 1) // 2 * 2
    return False


class Signer:
    """Signs C2PA manifests with an operator's certificate and key. Threads may share it.

    `chain`: certificates, PEM, the signer's first, without the root if you like. `key`: its private
    key, PEM, not encrypted. Raises `ConfigurationError` for what can't sign.
    """

    def __init__(self, chain: bytes, key: bytes) -> None:
        try:
            import c2pa
        except Exception as error:
            # The library binds to machine code as it is imported: any of its errors may come.
            raise ConfigurationError(
                f"C2PA manifests can't be signed: {error}; reinstall the package c2pa-python"
            ) from error
        self._library = c2pa
        self._algorithm, self._key = _algorithm(chain, key)
        self._chain = chain
        certificate = load_pem_x509_certificates(chain)[0]
        names = {one.oid: str(one.value) for one in certificate.subject}
        self.name = plain(names.get(NameOID.ORGANIZATION_NAME)) or plain(
            names.get(NameOID.COMMON_NAME)
        )
        # Nothing is fetched: no manifest that is kept elsewhere, no revocation list.
        settings: dict[str, Any] = {
            "version": 1,
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
            "core": {"allowed_network_hosts": []},
            # A second copy of the picture is of no use in it.
            "builder": {"thumbnail": {"enabled": False}},
        }
        try:
            self._context = c2pa.Context.from_dict(settings)
            trial = io.BytesIO()
            Image.new("L", (8, 8)).save(trial, "PNG")
            signed = self.sign("png", trial.getvalue(), edited=False, watermarked=False)
        except (c2pa.C2paError, MarkingFailed) as error:
            raise ConfigurationError(
                f"mark_certificate and mark_key can't sign: {error}. C2PA wants a certificate for "
                "signing (key usage digitalSignature, an extended key usage such as document "
                "signing), not one for a web server; `tutela guard certificate` makes one to try"
            ) from error
        told = Manifests().read(signed)
        if told is None or told.state != VALID:
            raise ConfigurationError(
                "what mark_certificate signs is not valid by C2PA: "
                f"{told.detail if told else 'no manifest'}"
            )

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """The signer that the settings name; None without. Raises `ConfigurationError`."""
        if settings.mark_certificate is None and settings.mark_key is None:
            return None
        if settings.mark_certificate is None or settings.mark_key is None:
            raise ConfigurationError("mark_certificate and mark_key go together; set both")
        return cls(
            _read(settings.mark_certificate, "mark_certificate"),
            _read(settings.mark_key, "mark_key"),
        )

    def sign(
        self,
        kind: str,
        picture: bytes,
        before: bytes = b"",
        *,
        edited: bool,
        watermarked: bool,
    ) -> bytes:
        """The picture with a manifest. One that is in `before`, what the picture was made from,
        becomes its parent. Raises `MarkingFailed`."""
        library = self._library
        media = f"image/{kind}"
        into = io.BytesIO()
        try:
            parent = bool(before) and self._has_manifest(before)
            manifest = _manifest(edited=edited, watermarked=watermarked, parent=parent)
            info = library.C2paSignerInfo(self._algorithm, self._chain, self._key, None)
            with (
                library.Builder.from_json(json.dumps(manifest), self._context) as builder,
                library.Signer.from_info(info) as signer,
            ):
                if parent:
                    about = {"title": "as the model gave it", "relationship": "parentOf"}
                    about["instance_id"] = PARENT
                    builder.add_ingredient(json.dumps(about), media, io.BytesIO(before))
                builder.sign(signer, media, io.BytesIO(picture), into)
        except (library.C2paError, ValueError, OSError) as error:
            # The message may quote a manifest; the kind of error is safe.
            name = type(error).__name__.removeprefix("_C2pa")
            raise MarkingFailed(f"The manifest can't be signed ({plain(name)}).") from error
        return into.getvalue()

    def _has_manifest(self, data: bytes) -> bool:
        """Whether there is one in the file, sound or not."""
        library = self._library
        try:
            with library.Reader(io.BytesIO(data), context=self._context):
                return True
        except library.C2paError.ManifestNotFound:
            return False


PARENT: Final = "xmp:iid:before"


def _manifest(*, edited: bool, watermarked: bool, parent: bool) -> dict[str, Any]:
    """What is signed. C2PA 2.2, 18.15 (actions) and 18.17 (metadata)."""
    source = EDITED if edited else GENERATED
    actions: list[dict[str, Any]] = [{"action": "c2pa.created", "digitalSourceType": source}]
    if parent:
        actions = [{"action": "c2pa.opened", "parameters": {"ingredientIds": [PARENT]}}]
    if watermarked:
        # Unbound: it says how the picture was made, and leads to no manifest.
        actions.append({"action": "c2pa.watermarked.unbound"})
    metadata = {
        "@context": {"Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"},
        "Iptc4xmpExt:DigitalSourceType": source,
    }
    return {
        "claim_generator_info": [{"name": "Tutela", "version": __version__}],
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": actions}},
            {"label": "c2pa.metadata", "kind": "Json", "data": metadata},
        ],
    }


def _algorithm(chain: bytes, key: bytes) -> tuple[Any, bytes]:
    """C2PA's name for what the key signs with, and the key as PKCS #8."""
    from c2pa import C2paSigningAlg as Algorithm

    try:
        certificates = load_pem_x509_certificates(chain)
        private = load_pem_private_key(key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's message may quote the key.
        raise ConfigurationError(
            "mark_certificate must hold certificates and mark_key a private key without a "
            f"password, both in PEM form ({type(error).__name__})"
        ) from None
    public = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*public) != certificates[0].public_key().public_bytes(
        *public
    ):
        raise ConfigurationError(
            "mark_key is not the key of the first certificate in mark_certificate"
        )
    match private:
        case ec.EllipticCurvePrivateKey():
            names = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
            name = names.get(private.curve.name, "")
        case ed25519.Ed25519PrivateKey():
            name = "ED25519"
        case rsa.RSAPrivateKey():
            name = "PS256" if private.key_size >= 2048 else ""
        case _:
            name = ""
    if not name:
        raise ConfigurationError(
            "C2PA allows keys on the curves P-256, P-384 and P-521, Ed25519, and RSA of 2048 bits "
            "and more; mark_key is none of these"
        )
    plain_key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Algorithm[name], plain_key


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"the file that {name} names, {path}, can't be read: {error.strerror}"
        ) from error


def trial_identity(name: str, days: int) -> tuple[bytes, bytes, bytes]:
    """A certificate chain, its root and the key to sign with, PEM, to try signing: self-made."""
    keys = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = _named(name, "Tutela test root")
    now = datetime.datetime.now(datetime.UTC)
    made = []
    for place, (common, authority) in enumerate(
        (("Tutela test root", True), ("Tutela test", False))
    ):
        public = keys[place].public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(_named(name, common))
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(_usage(authority=authority), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()),
                critical=False,
            )
        )
        if not authority:
            # C2PA 2.2, 14.5.1: one that is for documents or for e-mail signs manifests too.
            purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            builder = builder.add_extension(purpose, critical=False)
        made.append(builder.sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM))
    root, leaf = made
    key = keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return leaf + root, root, key


def _named(organisation: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
