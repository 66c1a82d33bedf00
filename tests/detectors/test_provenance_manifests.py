"""C2PA manifests: claims, trust, tampering, and that nothing is fetched."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import c2pa
import pytest

import provenance_files as files
from provenance_files import action, signed
from tutela.detectors import Options, Subject
from tutela.detectors.provenance import Provenance
from tutela.detectors.provenance.manifests import Manifests, interpret
from tutela.errors import ConfigurationError
from tutela.findings import Finding

GENERATED = action("c2pa.created", "trainedAlgorithmicMedia")
OPENED = action("c2pa.opened")
CAPTURED = action("c2pa.created", "digitalCapture")
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF")


def prepared(trust: str = "") -> Provenance:
    detector = Provenance()
    detector.prepare(Options(trust=trust))
    return detector


@pytest.fixture(scope="module")
def detector() -> Provenance:
    return prepared()


def read(detector: Provenance, data: bytes) -> Finding:
    """The finding of the manifest, which comes first."""
    return detector.examine(Subject(data=data))[0]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_is_read_and_every_altered_picture_told(
    detector: Provenance, kind: str
) -> None:
    made = signed(GENERATED, kind=kind)
    finding = read(detector, made)
    assert (finding.claim, finding.state) == ("generated", "valid")
    assert finding.signer == "Example Signer"
    assert "trainedalgorithmicmedia; by Example Imager 3.1" in finding.detail
    start = {"TIFF": 100, "AVIF": len(made) - 40}.get(kind, len(made) - 60)
    altered = bytearray(made)
    altered[start] ^= 1
    finding = read(detector, bytes(altered))
    assert (finding.claim, finding.state, finding.likelihood) == ("generated", "invalid", None)
    assert "Hash.mismatch" in finding.detail or "fails" in finding.detail


def test_a_film_is_read_and_an_altered_one_told(detector: Provenance) -> None:
    made = signed(GENERATED, plain=files.film(), media="video/mp4")
    finding = read(detector, made)
    assert (finding.claim, finding.state) == ("generated", "valid")
    altered = bytearray(made)
    altered[made.index(b"mdat") + 600] ^= 1
    assert read(detector, bytes(altered)).state == "invalid"


def test_threads_may_share_it(detector: Provenance) -> None:
    listed = [signed(GENERATED), signed(CAPTURED), signed(GENERATED)[:-60]] * 8
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda data: read(detector, data), listed))
    expected = [("generated", "valid"), ("captured", "valid"), ("generated", "invalid")] * 8
    assert [(one.claim, one.state) for one in told] == expected


def test_trust_is_what_the_operator_lists() -> None:
    root, _, _ = files.identity()
    made = signed(GENERATED)
    assert read(prepared(), made).state == "valid"
    trusted = read(prepared(root), made)
    assert trusted.state == "trusted"
    assert trusted.likelihood is not None
    assert trusted.likelihood > (read(prepared(), made).likelihood or 1)


@pytest.mark.parametrize("trust", ["nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END"])
def test_a_trust_list_that_is_none_is_refused(trust: str) -> None:
    with pytest.raises(ConfigurationError, match="trust list"):
        prepared(trust)


@pytest.mark.parametrize(
    ("actions", "claim"),
    [
        ([GENERATED], "generated"),
        ([OPENED, action("c2pa.edited", "trainedAlgorithmicMedia")], "edited"),
        ([OPENED, action("c2pa.edited", "compositeWithTrainedAlgorithmicMedia")], "edited"),
        ([OPENED], ""),
        ([CAPTURED, action("c2pa.edited", "compositeWithTrainedAlgorithmicMedia")], "edited"),
        ([GENERATED, action("c2pa.color_adjustments")], "generated"),
        ([CAPTURED], "captured"),
        ([action("c2pa.created", "digitalArt")], ""),
        ([action("c2pa.created", "algorithmicMedia")], ""),
    ],
)
def test_actions_make_the_claim(
    detector: Provenance, actions: list[dict[str, str]], claim: str
) -> None:
    photo = files.saved("JPEG")
    before = {"parentOf": (photo, "image/jpeg")} if OPENED in actions else {}
    made = signed(*actions, plain=photo, ingredients=before)
    assert read(detector, made).claim == claim


def test_what_a_picture_was_made_from_counts(detector: Provenance) -> None:
    generated = signed(GENERATED)
    child = signed(OPENED, ingredients={"parentOf": (generated, "image/jpeg")}, plain=generated)
    assert read(detector, child).claim == "generated"
    part = signed(CAPTURED, ingredients={"componentOf": (generated, "image/jpeg")})
    assert read(detector, part).claim == "edited"
    # A photo that was given to the generator: image to image.
    photo = files.saved("JPEG")
    fed = signed(GENERATED, ingredients={"inputTo": (photo, "image/jpeg")})
    assert read(detector, fed).claim == "edited"
    # A capture among the parts captures nothing of the whole.
    captured = signed(CAPTURED)
    drawn = action("c2pa.created", "digitalArt")
    collage = signed(drawn, ingredients={"componentOf": (captured, "image/jpeg")})
    assert read(detector, collage).claim == ""


def test_a_manifest_that_is_cut_or_moved_is_invalid(detector: Provenance) -> None:
    made = signed(GENERATED)
    at = made.index(b"jumdc2pa")
    for damaged in (made[: at + 400], made[:at] + b"jumdc2pa" + bytes(4000)):
        assert read(detector, damaged).state == "invalid"
    moved = read(detector, files.saved("JPEG") + made[at - 8 : at + 8000])
    assert (moved.state, moved.detail) == ("invalid", "C2PA: remains of a manifest")


def test_a_manifest_of_another_picture_is_invalid(detector: Provenance) -> None:
    made, other = signed(GENERATED), files.saved("JPEG", quality=30)
    end = 2
    while made[end + 1] != 0xDB:
        end += 2 + int.from_bytes(made[end + 2 : end + 4], "big")
    lifted = made[:end] + other[other.index(b"\xff\xdb") :]
    assert read(detector, lifted).state == "invalid"


def test_what_the_library_reports_may_be_anything() -> None:
    for report in (
        None,
        [],
        {},
        {"manifests": [1]},
        {"active_manifest": {}, "manifests": {"{}": 3}},
    ):
        assert interpret(report).state == "invalid"
    hostile = {
        "active_manifest": "a",
        "validation_state": "Valid",
        "manifests": {
            "a": {
                "claim_generator_info": [{"name": "x\x1b[31m\u202e" * 200, "version": ["?"]}],
                "signature_info": {"issuer": "Bad\nActor\x07" * 100},
                "assertions": [{"label": "c2pa.actions", "data": {"actions": [{}, 5, None]}}],
                "ingredients": [{"active_manifest": "a", "relationship": "parentOf"}] * 500,
            }
        },
    }
    evidence = interpret(hostile)
    assert evidence.state == "valid"
    assert evidence.detail.isprintable()
    assert evidence.signer.isprintable()
    assert len(evidence.signer) <= 48


def test_an_old_signer_that_leaves_out_too_much_is_told_from_tampering() -> None:
    code = {"code": "assertion.dataHash.mismatch"}
    results = {"failure": [code], "success": [{"code": "assertion.dataHash.match"}]}
    report = {
        "active_manifest": "a",
        "manifests": {"a": {}},
        "validation_state": "Invalid",
        "validation_results": {"activeManifest": results},
    }
    assert "leaves out" in interpret(report).detail
    results["success"] = []
    evidence = interpret(report)
    assert evidence.state == "invalid"
    assert "leaves out" not in evidence.detail


@contextmanager
def trap() -> Iterator[tuple[str, list[bytes]]]:
    """An address on this machine, and the requests that came to it."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    came.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa", came
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


def test_a_manifest_elsewhere_is_never_fetched(detector: Provenance) -> None:
    with trap() as (address, came):
        made = signed(GENERATED, remote=address)
        finding = read(detector, made)
        assert Manifests().read(made) is not None
        assert not came
        assert (finding.claim, finding.state) == ("", "unsigned")
        assert "not fetched" in finding.detail
        assert "127.0.0.1" not in finding.detail
        # The trap is set: a reader as it comes goes there.
        with pytest.raises(c2pa.C2paError):
            c2pa.Reader("image/jpeg", io.BytesIO(made))
        assert came


def test_settings_of_the_library_elsewhere_change_nothing(detector: Provenance) -> None:
    made = signed(GENERATED)
    c2pa.Context.from_json(json.dumps({"verify": {"verify_trust": False}})).close()
    assert read(detector, made).state == "valid"
