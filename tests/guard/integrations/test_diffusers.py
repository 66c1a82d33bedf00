"""Pipelines of diffusers behind the guard: a refusal costs no step, what is made is judged."""

from __future__ import annotations

import ast
import contextlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import examples
import numpy as np
import pytest
import tiny
import torch
from guarded import REFUSED_WORD, Spy
from PIL import Image

from tutela.detectors import trigger
from tutela.errors import (
    ConfigurationError,
    OutputRefused,
    RequestRefused,
    StoreError,
    TutelaError,
    Unexaminable,
)
from tutela.guard import watermark
from tutela.guard.gate import Operation
from tutela.guard.integrations.diffusers import PLAIN, SafetyChecker, guard
from tutela.guard.integrations.values import Given

pytestmark = [
    # What the tiny parts lack, and the packages' own plans.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:torch"),
]

WISH = "a red teapot"
REFUSED = f"please {REFUSED_WORD} this"
SIZE = {"height": tiny.SIDE, "width": tiny.SIDE}
STEPS = {"num_inference_steps": 2}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def steps_of(pipeline: Any) -> list[int]:
    """What grows with every step that the model makes."""
    made: list[int] = []
    model = getattr(pipeline, "unet", None) or pipeline.transformer
    model.register_forward_hook(lambda *_: made.append(1))
    return made


def photo() -> Image.Image:
    return Image.linear_gradient("L").resize((tiny.SIDE, tiny.SIDE)).convert("RGB")


def trigger_picture() -> Image.Image:
    return Image.open(io.BytesIO(trigger.picture())).convert("RGB")


def as_tensor(picture: Image.Image, low: float = 0.0) -> torch.Tensor:
    levels = torch.from_numpy(np.array(picture)).float() / 255
    return (levels * (1 - low) + low).permute(2, 0, 1)[None]


FORMS: dict[str, Callable[[Image.Image], Any]] = {
    "Pillow": lambda picture: picture,
    "Pillow, in a list": lambda picture: [picture],
    "with transparency": lambda picture: picture.convert("RGBA"),
    "hidden by transparency": lambda picture: hidden(picture),
    "bytes": lambda picture: np.array(picture),
    "floats": lambda picture: np.array(picture).astype(np.float32) / 255,
    "a batch of arrays": lambda picture: np.array(picture)[None].astype(np.float32) / 255,
    "a tensor": as_tensor,
    "a tensor from -1": lambda picture: as_tensor(picture, -1.0),
    "a tensor of half the precision": lambda picture: as_tensor(picture).bfloat16(),
    "tensors in a list": lambda picture: [
        as_tensor(photo().resize(picture.size)),
        as_tensor(picture),
    ],
}


def hidden(picture: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(0)
    return picture


EVERY = {
    "text to image": lambda: (tiny.stable_diffusion(), SIZE),
    "image to image": lambda: (
        tiny.stable_diffusion("StableDiffusionImg2ImgPipeline"),
        {"image": photo(), "strength": 0.9},
    ),
    "inpainting": lambda: (
        tiny.stable_diffusion("StableDiffusionInpaintPipeline"),
        {"image": photo(), "mask_image": photo(), **SIZE},
    ),
    "editing": lambda: (
        tiny.stable_diffusion("StableDiffusionInstructPix2PixPipeline", channels=8),
        {"image": photo()},
    ),
    "transformer": lambda: (tiny.flux(), SIZE),
    "transformer, editing": lambda: (
        tiny.flux("FluxKontextPipeline"),
        {"image": photo(), "_auto_resize": False, "max_area": tiny.SIDE**2, **SIZE},
    ),
}


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_allowed_is_made_as_without_the_guard(kind: str, gate: Spy) -> None:
    pipeline, given = EVERY[kind]()
    given = {**given, **STEPS}

    def make() -> Image.Image:
        seed = torch.Generator().manual_seed(5)
        return pipeline(prompt=WISH, generator=seed, **given).images[0]

    before = make()
    steps = steps_of(pipeline)
    assert guard(pipeline, gate) is pipeline
    after = make()
    assert steps
    assert np.array_equal(np.array(before), np.array(after))
    (asked,) = gate.requests
    assert asked.texts == (WISH,)
    assert asked.operation == (Operation.EDIT if "image" in given else Operation.GENERATE)
    assert len(asked.images) == ("image" in given)
    assert (asked.mask is not None) == ("mask_image" in given)
    assert len(gate.verdicts) == 2


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_refused_costs_no_step(kind: str, gate: Spy) -> None:
    pipeline, given = EVERY[kind]()
    steps = steps_of(pipeline)
    guard(pipeline, gate)
    with pytest.raises(RequestRefused) as refused:
        pipeline(prompt=[WISH, REFUSED], **given, **STEPS)
    assert not steps
    assert str(refused.value) == "This request is refused."
    assert refused.value.verdict == gate.verdicts[0].id
    assert not isinstance(refused.value, Unexaminable)


@pytest.mark.parametrize(
    "given",
    [
        {"prompt": WISH, "prompt_2": REFUSED},
        {"prompt": WISH, "negative_prompt": REFUSED},
        {"prompt": WISH, "negative_prompt_2": REFUSED, "true_cfg_scale": 4.0},
        {"prompt": WISH, "joint_attention_kwargs": {"words": [REFUSED]}},
        {"prompt": WISH, "joint_attention_kwargs": {REFUSED: 1.0}},
        {"prompt": WISH, "joint_attention_kwargs": {"seen": trigger_picture()}},
        {"prompt": WISH, "ip_adapter_image": trigger_picture()},
        {"prompt": WISH, "negative_ip_adapter_image": [[trigger_picture()]]},
    ],
    ids=lambda given: ", ".join(given),
)
def test_every_place_of_a_request_is_judged(given: dict[str, Any], gate: Spy) -> None:
    pipeline = tiny.flux()
    steps = steps_of(pipeline)
    guard(pipeline, gate)
    with pytest.raises(RequestRefused) as refused:
        pipeline(**given, **SIZE, **STEPS)
    assert not isinstance(refused.value, Unexaminable)
    assert not steps


def test_arguments_by_their_place_are_judged(gate: Spy) -> None:
    pipeline = guard(tiny.stable_diffusion(), gate)
    with pytest.raises(RequestRefused):
        pipeline(REFUSED)
    assert gate.requests[0].texts == (REFUSED,)


def test_guidance_away_from_the_prompt_asks_for_what_is_unwanted(gate: Spy) -> None:
    pipeline = guard(tiny.stable_diffusion(), gate)
    for scale in (7.5, -7.5):
        pipeline(WISH, negative_prompt="fog", guidance_scale=scale, **SIZE, **STEPS)
    wanted, turned = gate.requests
    assert (wanted.texts, wanted.unwanted) == ((WISH,), "fog")
    assert (turned.texts, turned.unwanted) == ((WISH, "fog"), "")


@pytest.mark.parametrize("form", FORMS)
def test_pictures_are_judged_in_every_form(form: str, gate: Spy) -> None:
    pipeline = tiny.stable_diffusion("StableDiffusionInpaintPipeline")
    steps = steps_of(pipeline)
    guard(pipeline, gate)
    given = FORMS[form](trigger_picture())
    with pytest.raises(RequestRefused) as refused:
        pipeline(WISH, image=given, mask_image=photo(), **STEPS)
    assert not isinstance(refused.value, Unexaminable)
    assert not steps
    shown = [
        np.array(Image.open(io.BytesIO(one)).convert("RGB")) for one in gate.requests[0].images
    ]
    assert any(np.array_equal(one, np.array(trigger_picture())) for one in shown)


def test_masks_are_judged_together(gate: Spy) -> None:
    left, right = (Image.new("L", (8, 8)) for _ in range(2))
    left.paste(255, (0, 0, 4, 4))
    right.paste(255, (4, 0, 8, 4))
    pipeline = guard(tiny.stable_diffusion("StableDiffusionInpaintPipeline"), gate)
    with pytest.raises(RequestRefused):
        pipeline(REFUSED, image=photo(), mask_image=[left, np.array(right), np.array(right) / 255])
    asked = gate.requests[0]
    assert asked.mask is not None
    assert np.array(Image.open(io.BytesIO(asked.mask))).mean(axis=1).tolist() == [255] * 4 + [0] * 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompt_embeds", torch.zeros(1, 77, 32)),
        ("latents", torch.zeros(1, 4, 32, 32)),
        ("ip_adapter_image_embeds", [torch.zeros(2, 1, 32)]),
        ("masked_image_latents", torch.zeros(1, 4, 32, 32)),
        ("image", torch.zeros(1, 4, 32, 32)),
        ("image", np.zeros((32, 32, 4), np.float32)),
        ("image", torch.full((1, 3, 32, 32), torch.nan)),
        ("image", torch.full((1, 3, 32, 32), 7.0)),
        ("image", "photo.png"),
        ("image", Image.new("I", (8, 8))),
        ("image", object()),
        ("cross_attention_kwargs", {"gligen": torch.zeros(1, 3, 8, 8)}),
        ("cross_attention_kwargs", {"scale": iter(WISH)}),
        ("output_type", "latent"),
        ("output_type", None),
        ("timesteps", list(range(5000))),
    ],
)
def test_what_cant_be_seen_into_is_refused(name: str, value: Any, gate: Spy) -> None:
    pipeline = tiny.stable_diffusion("StableDiffusionInpaintPipeline")
    steps = steps_of(pipeline)
    guard(pipeline, gate)
    given = {"prompt": WISH, "image": photo(), "mask_image": photo(), name: value}
    with pytest.raises(Unexaminable) as refused:
        pipeline(**given, **STEPS)
    assert refused.value.name == name
    assert repr(name) in str(refused.value)
    assert not steps
    assert not gate.requests


CALL = re.compile(r"^    def __call__\(\n(.*?)^    \)", re.MULTILINE | re.DOTALL)


def arguments() -> dict[str, str]:
    """Every argument of every pipeline that diffusers has, with how it is annotated."""
    found: dict[str, str] = {}
    for path in (Path(diffusers.__file__).parent / "pipelines").rglob("pipeline_*.py"):
        for heads in CALL.findall(path.read_text("utf-8")):
            (call,) = ast.parse(f"def call({heads}): ...").body
            assert isinstance(call, ast.FunctionDef)
            for one in (*call.args.args[1:], *call.args.kwonlyargs):
                said = ast.unparse(one.annotation) if one.annotation else ""
                found[one.arg] = f"{found.get(one.arg, '')} {said}"
    return found


def test_no_argument_of_any_pipeline_passes_unexamined() -> None:
    array = np.full((1, 8, 8, 3), 0.5, np.float32)
    values = {"str": "words of a text", "Image": photo(), "Tensor": array, "ndarray": array}
    known = arguments()
    assert len(known) > 400
    for name, said in known.items():
        for value in (value for word, value in values.items() if word in said):
            given = Given((), PLAIN)
            try:
                given.read(name, value)
            except Unexaminable:
                continue
            asked = given.request()
            assert asked.texts or asked.unwanted or asked.images or asked.mask, name


def test_what_the_program_vouches_for_passes(gate: Spy) -> None:
    pipeline = guard(tiny.stable_diffusion(), gate, vouched=["latents", "output_type", "images"])
    noise = torch.randn(1, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    made = pipeline(WISH, latents=noise, output_type="latent", **STEPS).images
    assert made.shape[0] == 1
    with pytest.raises(Unexaminable):
        pipeline(WISH, prompt_embeds=torch.zeros(1, 77, 32))


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("form", ["pil", "np", "pt"])
def test_what_was_made_is_judged(form: str, whole: bool, gate: Spy) -> None:
    pipeline = guard(tiny.stable_diffusion(), gate)
    given = {"output_type": form, "return_dict": whole, **SIZE, **STEPS}
    pipeline(WISH, **given)
    pipeline.vae.decode = lambda *_, **__: (as_tensor(trigger_picture(), -1.0),)
    with pytest.raises(OutputRefused) as refused:
        pipeline(WISH, **given)
    assert str(refused.value) == "What was made can't be shown."
    assert refused.value.verdict == gate.verdicts[-1].id


def test_what_was_made_and_cant_be_seen_is_refused(gate: Spy) -> None:
    pipeline = guard(tiny.stable_diffusion(), gate, vouched=["output_type"])
    with pytest.raises(OutputRefused, match="images"):
        pipeline(WISH, output_type="latent", **SIZE, **STEPS)


@pytest.mark.parametrize("form", ["pil", "np", "pt"])
def test_what_was_made_is_marked(form: str, gate: Spy) -> None:
    pipeline = guard(tiny.stable_diffusion(), gate, mark=lambda rgb: np.full_like(rgb, 51))
    made = pipeline([WISH] * 2, output_type=form, **SIZE, **STEPS).images
    assert len(made) == 2
    level = {"pil": 51, "np": 0.2, "pt": 0.2}[form]
    for one in made:
        assert np.allclose(np.asarray(one), level)
    assert type(made) is {"pil": list, "np": np.ndarray, "pt": torch.Tensor}[form]


def test_models_work_only_in_their_guarded_pipeline(gate: Spy) -> None:
    pipeline = tiny.stable_diffusion()
    steps = steps_of(pipeline)
    unguarded = type(pipeline)
    guard(pipeline, gate)
    embeds, _ = pipeline.encode_prompt(WISH, "cpu", 1, False)
    shared = diffusers.StableDiffusionImg2ImgPipeline.from_pipe(pipeline)
    for run in (
        lambda: pipeline.unet(torch.zeros(1, 4, 32, 32), 1, embeds),
        lambda: unguarded.__call__(pipeline, WISH, **SIZE, **STEPS),
        lambda: shared(WISH, image=photo(), **STEPS),
    ):
        with pytest.raises(RequestRefused, match="guarded pipeline"):
            run()
    assert not steps
    assert not gate.requests
    pipeline(WISH, **SIZE, **STEPS)
    guard(shared, gate)(WISH, image=photo(), strength=0.9, **STEPS)
    assert steps
    with pytest.raises(ConfigurationError, match="once"):
        guard(pipeline, gate)


def test_without_a_verdict_there_is_no_step(gate: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny.stable_diffusion()
    steps = steps_of(pipeline)
    guard(pipeline, gate)

    def fail(*_: object) -> None:
        raise StoreError("the database can't be reached")

    monkeypatch.setattr(gate.screener.recorder, "submit", fail)
    with pytest.raises(StoreError):
        pipeline(WISH, **SIZE, **STEPS)
    assert not steps


def test_the_safety_checker_makes_black_what_is_refused(gate: Spy) -> None:
    pipeline = tiny.stable_diffusion()
    SafetyChecker(gate).install(pipeline)
    made = pipeline(WISH, **SIZE, **STEPS)
    assert made.nsfw_content_detected == [False]
    assert np.array(made.images[0]).any()
    both = torch.cat([as_tensor(trigger_picture(), -1.0), torch.ones(1, 3, 512, 640)])
    pipeline.vae.decode = lambda *_, **__: (both.clone(),)
    made = pipeline([WISH] * 2, **SIZE, **STEPS)
    assert made.nsfw_content_detected == [True, False]
    assert not np.array(made.images[0]).any()
    assert np.array(made.images[1]).all()


def test_the_safety_checker_takes_arrays(gate: Spy) -> None:
    both = np.stack([np.array(trigger_picture()), np.full((512, 640, 3), 99)]) / 255
    images, refused = SafetyChecker(gate)(images=both.astype(np.float32), clip_input=None)
    assert refused == [True, False]
    assert not images[0].any()
    assert np.allclose(images[1], 99 / 255)


@pytest.mark.parametrize("error", [StoreError("down"), TutelaError("else")])
def test_the_safety_checker_flags_everything_when_judging_fails(
    error: TutelaError, gate: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(gate, "output", fail)
    images, refused = SafetyChecker(gate)(images=torch.ones(2, 3, 8, 8), clip_input=None)
    assert refused == [True, True]
    assert not images.any()
    monkeypatch.undo()
    images, refused = SafetyChecker(gate)(images=torch.full((1, 3, 8, 8), torch.nan))
    assert refused == [True]
    assert not images.any()


def test_the_example(gate: Spy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert examples.as_they_run("guard-diffusers.md")
    monkeypatch.setattr("tutela.guard.open", lambda data: contextlib.nullcontext(gate))
    monkeypatch.chdir(tmp_path)
    tiny.stable_diffusion(halvings=4).save_pretrained("model")
    Image.linear_gradient("L").convert("RGB").save("photo.png")
    main = examples.load("examples/diffusers/generate.py").main
    main("model", WISH, "out.png", "photo.png")
    found = watermark.detect(np.array(Image.open("out.png")))
    assert found is not None
    assert found.edited
    with pytest.raises(RequestRefused):
        main("model", REFUSED, "no.png", "photo.png")
    assert not Path("no.png").exists()
