"""Synthetic suspicion adds up what speaks for it, never what speaks against, and abstains."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tutela import models
from tutela.detectors import Options, Subject, examine, synthetic_models
from tutela.detectors.synthetic import CLEAR, SYNTHETIC, Part, Synthetic, altered, fused, parts
from tutela.errors import ConfigurationError
from tutela.findings import FAILURE, Finding
from tutela.media.types import MediaFacts
from tutela.media.views import View

FACTS = MediaFacts("jpeg", 640, 480, 1)


def said(
    claim: str = "generated", state: str = "valid", likelihood: float | None = 0.95
) -> Finding:
    return Finding("provenance", "provenance", claim=claim, state=state, likelihood=likelihood)


def known(changed: float, likelihood: float = 0.9999, tier: str = "reported") -> Finding:
    return Finding(
        "derivative", "local", tier=tier, changed=changed, overlap=1.0, likelihood=likelihood
    )


def region(likelihood: float = 0.8) -> Finding:
    return Finding("forensics", "forensics", likelihood=likelihood, heat="09/00")


def judged(*findings: Finding, detector: Synthetic = SYNTHETIC) -> Finding | None:
    detector.prepare(Options())
    found = examine(detector, Subject(findings=findings, facts=FACTS))
    assert len(found) <= 1
    return found[0] if found else None


class TestFusion:
    def test_nothing_to_go_on_is_no_finding(self) -> None:
        assert judged() is None

    def test_what_is_said_of_it_counts(self) -> None:
        finding = judged(said())
        assert finding is not None
        assert finding.kind == "synthetic"
        assert finding.likelihood == 0.95
        assert finding.detail == "said to be generated (valid)"

    def test_an_original_that_was_repainted_counts(self) -> None:
        finding = judged(known(0.4))
        assert finding is not None
        assert finding.detail == "known original, 40% of what it shows changed"

    def test_an_original_that_was_passed_on_does_not(self) -> None:
        assert judged(known(0.02)) is None

    def test_grounds_that_agree_are_surer_than_each(self) -> None:
        alone = judged(known(0.4))
        both = judged(known(0.4), region())
        assert alone is not None
        assert both is not None
        assert alone.likelihood is not None
        assert both.likelihood is not None
        assert both.likelihood > alone.likelihood
        assert "known original" in both.detail
        assert "region" in both.detail

    def test_one_ground_counts_once(self) -> None:
        assert judged(said(), said(), said(likelihood=0.9)) == judged(said())

    @pytest.mark.parametrize(
        "finding",
        [
            said("captured", "trusted", None),
            said("", "unsigned", None),
            said(state="invalid", likelihood=0.9),
            known(0.9, tier="benign"),
            known(0.4, likelihood=0.1),
            region(0.55),
            region(0.99),
            Finding("nudity", "nudity", likelihood=0.99),
            Finding("provenance", "provenance", claim="generated", state="unsigned"),
        ],
    )
    def test_abstains(self, finding: Finding) -> None:
        assert judged(finding) is None

    @given(
        before=st.lists(
            st.sampled_from([said(), known(0.3), known(0.0), region(), region(0.6)]), max_size=4
        ),
        more=st.sampled_from(
            [
                said("captured", "trusted", None),
                said(likelihood=0.01),
                known(0.0),
                known(0.5, likelihood=0.0),
                region(0.0),
                said(),
                known(0.6),
            ]
        ),
    )
    def test_nothing_ever_lowers_it(self, before: list[Finding], more: Finding) -> None:
        assert fused(parts([*before, more])) >= fused(parts(before))

    @given(
        found=st.lists(
            st.builds(
                Part,
                st.sampled_from(["provenance", "derivation", "pixels"]),
                st.floats(0, 1),
                st.just(""),
            ),
            max_size=6,
        )
    )
    def test_odds_are_those_of_the_strongest_of_each_ground(self, found: list[Part]) -> None:
        odds = 1.0
        for ground in ("provenance", "derivation", "pixels"):
            best = max([0.5, *(part.likelihood for part in found if part.ground == ground)])
            odds *= min(best, 0.999) / (1 - min(best, 0.999))
        assert fused(found) == pytest.approx(min(0.999, odds / (1 + odds)))
        assert 0.5 <= fused(found) <= 0.999

    def test_the_likeliest_part_of_a_film_is_named(self) -> None:
        one = Finding("derivative", "local", part="0:01.00", changed=0.4, likelihood=0.99)
        other = Finding("derivative", "local", part="0:07.00", changed=0.4, likelihood=0.999999)
        finding = judged(one, other)
        assert finding is not None
        assert finding.part == "0:07.00"

    def test_altered_is_a_likelihood(self) -> None:
        assert all(0 < altered(changed) < 1 for changed in np.linspace(0, 1, 50))
        assert altered(0.0) < 0.5 < altered(0.4)

    def test_text_is_not_for_it(self) -> None:
        assert not SYNTHETIC.applies(MediaFacts("text"))
        assert SYNTHETIC.applies(MediaFacts("mp4", sound=3.0))


def bright(path: Path, side: int, outputs: int) -> str:
    """A real network: the logit of being generated is how bright a picture is. Gives its hash."""
    weight = np.zeros((3, outputs), np.float32)
    weight[:, -1] = 20 / 3
    bias = np.zeros(outputs, np.float32)
    bias[-1] = -10
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["pixels"], ["mean"]),
            helper.make_node("Flatten", ["mean"], ["flat"]),
            helper.make_node("Gemm", ["flat", "weight", "bias"], ["logits"]),
        ],
        "bright",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", outputs])],
        [
            helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.ravel()),
            helper.make_tensor("bias", TensorProto.FLOAT, bias.shape, bias),
        ],
    )
    operators = [helper.make_opsetid("", 17)]
    data = helper.make_model(graph, opset_imports=operators, ir_version=8).SerializeToString()
    onnx.checker.check_model(onnx.load_from_string(data))
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


ENTRY = """
[[model]]
adapter = "{adapter}"
file = "{adapter}.onnx"
sha256 = "{sha256}"
points = [[0.0, 0.1], [0.5, 0.5], [1.0, 0.96]]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with both models, set up."""
    text = ""
    for adapter, side, outputs in (("commfor-vit-s-384", 384, 1), ("safe", 256, 2)):
        digest = bright(tmp_path / f"{adapter}.onnx", side, outputs)
        text += ENTRY.format(adapter=adapter, sha256=digest)
    (tmp_path / "synthetic.toml").write_text(text)
    yield tmp_path
    models.close()


def view(level: int, height: int = 480, width: int = 640, part: str = "") -> View:
    return View(part, np.full((height, width, 3), level, np.uint8))


def answer(detector: Synthetic, *views: View, facts: MediaFacts = FACTS) -> list[Finding]:
    return examine(detector, Subject(views=views, facts=facts))


class TestModels:
    def test_bright_pictures_are_synthetic_to_the_bright_model(self, folder: Path) -> None:
        detector = Synthetic()
        detector.prepare(Options(models=folder))
        assert answer(detector, view(10)) == []
        (finding,) = answer(detector, view(250))
        assert finding.likelihood == pytest.approx(0.96, abs=0.01)
        assert "commfor-vit-s-384 0.96" in finding.detail
        assert "safe 0.96" in finding.detail

    def test_a_model_adds_to_what_others_found(self, folder: Path) -> None:
        detector = Synthetic()
        detector.prepare(Options(models=folder))
        subject = Subject(views=[view(250)], findings=[known(0.4)], facts=FACTS)
        (finding,) = examine(detector, subject)
        alone = judged(known(0.4))
        assert alone is not None
        assert (finding.likelihood or 0) > (alone.likelihood or 0)

    def test_the_brightest_frame_is_named(self, folder: Path) -> None:
        detector = Synthetic()
        detector.prepare(Options(models=folder))
        views = [view(20, part="frame 0"), view(255, part="frame 1"), view(30, part="frame 2")]
        (finding,) = answer(detector, *views)
        assert finding.part == "frame 1"

    def test_reduced_pictures_are_not_shown_to_safe(self, folder: Path) -> None:
        detector = Synthetic()
        detector.prepare(Options(models=folder))
        (finding,) = answer(detector, view(250), facts=MediaFacts("jpeg", 4000, 3000, 1))
        assert "commfor" in finding.detail
        assert "safe" not in finding.detail

    def test_upright_pictures_are_shown_as_they_are(self) -> None:
        rng = np.random.default_rng(3)
        pixels = rng.integers(0, 256, (300, 400, 3), np.uint8)
        row = synthetic_models.safe(View("", pixels), MediaFacts("jpeg", 400, 300, 1))
        assert row is not None
        wanted = pixels[22 : 22 + 256, 72 : 72 + 256].astype(np.float32) / 255
        assert np.allclose(row[0], wanted.transpose(2, 0, 1))

    @pytest.mark.parametrize(("height", "width"), [(480, 640), (100, 640), (640, 640), (641, 64)])
    def test_the_middle_is_shown_to_commfor(self, height: int, width: int) -> None:
        row = synthetic_models.commfor(view(128, height, width), FACTS)
        assert row is not None
        assert row.shape == (1, 3, 384, 384)
        grey: NDArray[np.float64] = (128 / 255 - np.array([0.485, 0.456, 0.406])) / np.array(
            [0.229, 0.224, 0.225]
        )
        assert np.allclose(row[0].mean((1, 2)), grey, atol=1e-4)

    def test_threads_share_a_model(self, folder: Path) -> None:
        detector = Synthetic()
        detector.prepare(Options(models=folder))
        found: list[list[Finding]] = []
        threads = [
            threading.Thread(target=lambda: found.append(answer(detector, view(250))))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 8
        assert all(one == found[0] for one in found)

    def test_models_cost(self, folder: Path) -> None:
        plain, detector = Synthetic(), Synthetic()
        plain.prepare(Options())
        detector.prepare(Options(models=folder))
        assert plain.cost < 1 < detector.cost

    def test_a_model_that_fails_is_a_failure(self, folder: Path) -> None:
        detector = Synthetic()
        detector.prepare(Options(models=folder))
        models.close()
        (finding,) = answer(detector, view(250))
        assert finding.kind == FAILURE
        assert finding.detail == "ModelFailed"

    def test_none_without_a_folder_or_a_file(self, tmp_path: Path) -> None:
        assert synthetic_models.load(None) == ()
        assert synthetic_models.load(tmp_path) == ()

    def test_another_file_is_refused(self, folder: Path) -> None:
        with (folder / "safe.onnx").open("ab") as file:
            file.write(b" ")
        with pytest.raises(ConfigurationError, match="not the file"):
            Synthetic().prepare(Options(models=folder))

    def test_missing_file_is_refused(self, folder: Path) -> None:
        (folder / "safe.onnx").unlink()
        with pytest.raises(ConfigurationError):
            Synthetic().prepare(Options(models=folder))

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("[[model]]", "[[model", "not TOML"),
            ("[[model]]", "[[other]]", "only them"),
            ('adapter = "safe"', 'adapter = "sage"', "none of"),
            ('file = "safe.onnx"', 'file = "../safe.onnx"', "plain name"),
            ('sha256 = "', 'sha256 = "X', "64 hexadecimal"),
            ("points = [[0.0", "more = 1\npoints = [[0.0", "nothing else"),
            ("[0.0, 0.1]", "[0.0, 0.9]", "rise"),
            ("[0.0, 0.1]", "[0.6, 0.1]", "rise"),
            ("[1.0, 0.96]", "[2.0, 0.96]", "rise"),
            ("[1.0, 0.96]", "[1.0]", "not numbers"),
            ("[[0.0, 0.1], [0.5, 0.5], [1.0, 0.96]]", "[[0.5, 0.5]]", "two pairs"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path: Path, old: str, new: str, message: str) -> None:
        text = ENTRY.format(adapter="safe", sha256="0" * 64)
        assert old in text
        with pytest.raises(ConfigurationError, match=message):
            synthetic_models.parse(text.replace(old, new), tmp_path)


def test_the_band_lies_above_one_half() -> None:
    assert 0.5 < CLEAR < 1
