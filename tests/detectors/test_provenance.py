"""Provenance: what is read from files of generators, editors and cameras."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

import provenance_files as files
from provenance_files import File
from tutela.detectors import Options, Sight, Subject, installed
from tutela.detectors.provenance import Provenance, graphs
from tutela.detectors.provenance.evidence import SOURCE_TYPES, source_type
from tutela.errors import ConfigurationError
from tutela.examine import Wanted
from tutela.findings import Finding
from tutela.media.types import MediaFacts
from tutela.sandbox import Sandbox

MADE = [*files.generators(), *files.source_types(), *files.innocent()]


@pytest.fixture(scope="module")
def detector() -> Provenance:
    made = Provenance()
    made.prepare(Options())
    return made


def found(detector: Provenance, data: bytes) -> Sequence[Finding]:
    return detector.examine(Subject(data=data))


@pytest.mark.parametrize("file", MADE, ids=lambda file: file.name)
def test_what_programs_write_is_read(detector: Provenance, file: File) -> None:
    findings = found(detector, file.data)
    if file.claim is None:
        assert not findings
        return
    assert {finding.claim for finding in findings} == {file.claim}
    assert any(file.maker in finding.detail for finding in findings)
    assert all(finding.state == "unsigned" and not finding.signer for finding in findings)
    argues = file.claim in ("generated", "edited")
    assert all((finding.likelihood is not None) is argues for finding in findings)


@pytest.mark.parametrize("file", MADE, ids=lambda file: file.name)
def test_nothing_that_a_person_wrote_is_in_a_finding(detector: Provenance, file: File) -> None:
    for finding in found(detector, file.data):
        written = json.dumps(finding.to_json())
        assert not [secret for secret in files.SECRETS if secret in written]
        assert len(finding.detail) <= 200
        assert finding.detail.isprintable()


def test_the_names_of_fields_may_be_prompts_too(detector: Provenance) -> None:
    swarm = json.dumps({"sui_image_params": {"prompt": "x", "swarm_version": files.PROMPT}})
    (finding,) = found(detector, files.png({files.PROMPT: swarm}))
    assert finding.detail == "SwarmUI, in PNG text"


def test_a_prompt_that_names_settings_sets_nothing(detector: Provenance) -> None:
    prompt = "Mask blur: 4, Denoising strength: 0.5, Version: ComfyUI\nSteps: 3, Seed: 9"
    text = f"{prompt}\n{files.settings(Version='v1.9.0')}"
    (finding,) = found(detector, files.png({"parameters": text}))
    assert (finding.claim, finding.detail) == (
        "generated",
        "AUTOMATIC1111 v1.9.0, in PNG parameters",
    )


def test_a_version_is_only_what_looks_like_one(detector: Provenance) -> None:
    text = files.settings(Version=files.PROMPT)
    (finding,) = found(detector, files.png({"parameters": text}))
    assert finding.detail == "AUTOMATIC1111, in PNG parameters"


def test_the_label_for_content_that_may_be_generated_weighs_less(detector: Provenance) -> None:
    label = json.dumps({"Label": "3", "ContentProducer": "x"})
    (finding,) = found(detector, files.png({"AIGC": label}))
    assert finding.claim == "generated"
    assert finding.likelihood is not None
    assert finding.likelihood < 0.9


def test_each_source_of_evidence_is_a_finding(detector: Provenance) -> None:
    block = files.exif({0x0131: "Adobe Firefly"}, {0x9286: files.comment(files.settings())})
    made = files.source_type("trainedAlgorithmicMedia")
    findings = found(detector, files.saved("JPEG", exif=block, xmp=made))
    details = sorted(finding.detail.split(",")[0] for finding in findings)
    assert details == [
        "AUTOMATIC1111",
        "Adobe Firefly",
        "XMP digitalsourcetype: trainedalgorithmicmedia",
    ]


def test_a_camera_weighs_nothing_beside_a_generator(detector: Provenance) -> None:
    block = files.exif({0x010F: "Canon", 0x0110: "EOS R5", 0x0131: "Adobe Firefly"})
    (finding,) = found(detector, files.saved("JPEG", exif=block))
    assert finding.claim == "generated"


def test_no_finding_ever_says_authentic(detector: Provenance) -> None:
    claims = {finding.claim for file in MADE for finding in found(detector, file.data)}
    assert claims == {"generated", "edited", "captured", ""}


def test_source_types_come_from_the_vocabulary_alone() -> None:
    for name, claim in SOURCE_TYPES.items():
        for text in (files.SOURCE_TYPE + name, f"digsrctype:{name.upper()}", f" {name}/ "):
            assert source_type(text) == (name, claim)
    assert source_type("http://example.org/trainedAlgorithmicMediaNot") is None
    assert source_type("") is None


def test_long_comfy_graphs_are_walked_without_recursion() -> None:
    nodes = {
        str(place): {"class_type": "Reroute", "inputs": {"x": [str(place + 1), 0]}}
        for place in range(3, 4000)
    }
    nodes["1"] = {"class_type": "KSampler", "inputs": {"latent_image": ["3", 0]}}
    nodes["4000"] = {"class_type": "LoadImage", "inputs": {}}
    assert graphs.claim(graphs.graph(nodes))[0] == "edited"
    # A circle ends too.
    nodes["4000"] = {"class_type": "Reroute", "inputs": {"x": ["3", 0]}}
    assert graphs.claim(graphs.graph(nodes))[0] == "generated"


def test_a_node_that_is_muted_edits_nothing() -> None:
    drawn = files.workflow(files.comfy(load="LoadImage", latent="VAEEncode"))
    for node in drawn["nodes"]:
        if node["type"] == "LoadImage":
            node["mode"] = 2
    assert graphs.claim(graphs.graph(drawn)) == ("generated", "from words")


def test_it_is_installed_and_works_on_bytes() -> None:
    detector = installed()["provenance"]
    assert detector.looks_at == {Sight.BYTES}
    assert detector.applies(MediaFacts())
    assert detector.applies(MediaFacts("mp4"))
    assert not detector.applies(MediaFacts("text"))


def test_it_must_be_prepared() -> None:
    with pytest.raises(ConfigurationError, match="prepare"):
        Provenance().examine(Subject(data=b""))
    assert Provenance().examine(Subject(text="words")) == ()


def test_it_works_where_no_file_can_be_opened() -> None:
    root, _, _ = files.identity()
    made = files.signed(files.action("c2pa.created", "trainedAlgorithmicMedia"))
    wanted = Wanted(detectors=frozenset({"provenance"}))
    chosen = {file.name: file for file in MADE}
    with Sandbox(workers=1, options=Options(trust=root)) as sandbox:
        (finding,) = sandbox.examine(made, wanted).findings
        assert (finding.claim, finding.state) == ("generated", "trusted")
        assert finding.signer == "Example Signer"
        for name in ("A1111 PNG", "NovelAI stealth", "source type AVIF", "ComfyUI video"):
            findings = sandbox.examine(chosen[name].data, wanted).findings
            assert {finding.claim for finding in findings} == {chosen[name].claim}
        damaged = made[:2000] + bytes(500) + made[2500:]
        (finding,) = sandbox.examine(damaged, wanted).findings
        assert (finding.kind, finding.state) == ("provenance", "invalid")
