"""C2PA manifests: read and checked in memory, with nothing fetched, by the C2PA project's library.

Source: C2PA 2.2 (actions 18.15, ingredients 18.16, validation 15). The library's state is kept as
it is. What a manifest claims is taken from its active manifest's actions and from what it says
of the pictures that it was made from.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cryptography.x509 import load_pem_x509_certificates

from tutela.detectors.provenance.evidence import (
    CAPTURED,
    EDITED,
    GENERATED,
    INVALID,
    MAX_DETAIL,
    TRUSTED,
    UNSAID,
    VALID,
    Evidence,
    plain,
    source_type,
)
from tutela.errors import ConfigurationError

MAX_DEPTH: Final = 16
"""Generations of ingredients that are followed."""
MAX_MANIFESTS: Final = 256

_STATES: Final = {"Trusted": TRUSTED, "Valid": VALID}
_NO_TRUST = "signingCredential.untrusted"


class Manifests:
    """Reads C2PA manifests. Threads may share it."""

    def __init__(self, trust: str = "") -> None:
        """`trust`: certificates, PEM, whose signatures count as trusted. Raises
        `ConfigurationError` if there is none among them, or the library can't be loaded."""
        try:
            import c2pa
        except Exception as error:
            # The library binds to machine code as it is imported: any of its errors may come.
            raise ConfigurationError(
                f"C2PA manifests can't be read: {error}; reinstall the package c2pa-python"
            ) from error
        self._library = c2pa
        settings: dict[str, Any] = {
            "version": 1,
            "verify": {
                "remote_manifest_fetch": False,
                "ocsp_fetch": False,
                "verify_trust": True,
            },
            # An empty list lets no request through, whatever else asks for one.
            "core": {"allowed_network_hosts": []},
        }
        try:
            if trust.strip():
                # The library passes over what is no certificate: then nothing would be trusted.
                load_pem_x509_certificates(trust.encode())
                settings["trust"] = {"trust_anchors": trust}
            self._context = c2pa.Context.from_dict(settings)
        except (ValueError, c2pa.C2paError) as error:
            raise ConfigurationError(
                "The C2PA trust list can't be used; it must hold certificates in PEM form"
            ) from error

    def read(self, data: bytes) -> Evidence | None:
        """What the manifest of a file says; None where there is none.

        A manifest that can't be read is evidence too, of the state `invalid`.
        """
        library = self._library
        try:
            # The format is told by the bytes.
            with library.Reader(io.BytesIO(data), context=self._context) as reader:
                store = json.loads(reader.json())
        except library.C2paError.ManifestNotFound:
            return None
        except library.C2paError.RemoteManifest:
            return Evidence("names a C2PA manifest elsewhere, which is not fetched")
        except (library.C2paError, ValueError, RecursionError) as error:
            # The message may quote the manifest; the kind of error is safe.
            name = type(error).__name__.removeprefix("_C2pa")
            return Evidence(f"C2PA: can't be read ({plain(name)})", state=INVALID)
        return interpret(store)


def interpret(store: object) -> Evidence:
    """Evidence from the library's report on a manifest store."""
    report = _mapping(store)
    manifests = _mapping(report.get("manifests"))
    active = _mapping(manifests.get(str(report.get("active_manifest"))))
    state = _STATES.get(str(report.get("validation_state")), INVALID)
    codes = _codes(report)
    claim, kind = _claim(manifests, active, 0, [MAX_MANIFESTS])
    signature = _mapping(active.get("signature_info"))
    signer = plain(signature.get("issuer")) or plain(signature.get("common_name"))
    parts = [f"C2PA: {kind or 'no digital source type'}"]
    if maker := _maker(active):
        parts.append(f"by {maker}")
    if state == INVALID:
        parts.append(f"fails {', '.join(codes[:3])}" if codes else "fails validation")
        if _only_wider(report, codes):
            parts.append("the bytes are as signed, but the signature leaves out too many")
    elif broken := _broken_ingredients(active):
        parts.append(f"an ingredient fails {', '.join(broken[:2])}")
    return Evidence("; ".join(parts)[:MAX_DETAIL], claim, state, signer)


def _claim(
    manifests: Mapping[str, Any], manifest: Mapping[str, Any], depth: int, left: list[int]
) -> tuple[str, str]:
    """The claim of a manifest and of what it was made from, with the source type that says so."""
    left[0] -= 1
    if depth > MAX_DEPTH or left[0] < 0:
        return UNSAID, ""
    # What its own actions say. Only the act of creation can make the whole generated.
    said: dict[str, str] = {}
    for action, kind, claim in _source_types(manifest):
        if claim == GENERATED and action not in ("c2pa.created", "metadata"):
            claim = EDITED
        said.setdefault(claim, kind)
    fed = False
    for ingredient in _list(manifest.get("ingredients")):
        relation = ingredient.get("relationship")
        picture = str(ingredient.get("format", "")).startswith(("image/", "video/"))
        fed |= relation == "inputTo" and picture
        before = _mapping(manifests.get(str(ingredient.get("active_manifest"))))
        if not before:
            continue
        claim, kind = _claim(manifests, before, depth + 1, left)
        if claim == GENERATED and relation != "parentOf":
            claim = EDITED
        if claim != CAPTURED or relation == "parentOf":
            said.setdefault(claim, kind)
    if GENERATED in said:
        return (EDITED if fed else GENERATED), said[GENERATED]
    for claim in (EDITED, CAPTURED, UNSAID):
        if claim in said:
            return claim, said[claim]
    return UNSAID, ""


def _source_types(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Action, source type and claim, of actions and of metadata that a manifest asserts."""
    for assertion in _list(manifest.get("assertions")):
        label = str(assertion.get("label", ""))
        data = _mapping(assertion.get("data"))
        if label.startswith("c2pa.actions"):
            for action in _list(data.get("actions")):
                if known := source_type(str(action.get("digitalSourceType", ""))):
                    yield str(action.get("action", "")), *known
        elif label.startswith(("stds.iptc", "c2pa.metadata", "cawg.metadata", "stds.metadata")):
            for name, value in data.items():
                if str(name).lower().endswith(":digitalsourcetype"):
                    text = value.get("@id", "") if isinstance(value, dict) else value
                    if known := source_type(str(text)):
                        yield "metadata", *known


def _maker(manifest: Mapping[str, Any]) -> str:
    for info in _list(manifest.get("claim_generator_info")):
        if name := plain(info.get("name"), 40):
            return f"{name} {plain(info.get('version'), 20)}".strip()
    return plain(manifest.get("claim_generator"), 40)


def _codes(report: Mapping[str, Any]) -> list[str]:
    """Codes of what failed, in the order found, without the lack of trust, which the state says."""
    results = _mapping(_mapping(report.get("validation_results")).get("activeManifest"))
    failures = _list(results.get("failure")) + _list(report.get("validation_status"))
    codes = (plain(failure.get("code"), 60) for failure in failures)
    return list(dict.fromkeys(code for code in codes if code and code != _NO_TRUST))


def _only_wider(report: Mapping[str, Any], codes: list[str]) -> bool:
    """Whether all that is wrong is that bytes beside the manifest were left unsigned.

    So sign some programs that came before C2PA forbade it.
    """
    results = _mapping(_mapping(report.get("validation_results")).get("activeManifest"))
    passed = {success.get("code") for success in _list(results.get("success"))}
    return codes == ["assertion.dataHash.mismatch"] and "assertion.dataHash.match" in passed


def _broken_ingredients(manifest: Mapping[str, Any]) -> list[str]:
    """Codes of what already failed in an ingredient when the manifest was made."""
    codes: dict[str, None] = {}
    for ingredient in _list(manifest.get("ingredients")):
        results = _mapping(_mapping(ingredient.get("validation_results")).get("activeManifest"))
        failures = _list(ingredient.get("validation_status")) + _list(results.get("failure"))
        for failure in failures:
            code = plain(failure.get("code"), 60)
            if code and code != _NO_TRUST:
                codes[code] = None
    return list(codes)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
