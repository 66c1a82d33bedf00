"""Interfaces of Gradio on loopback, used by its own client: what is refused runs no function."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import examples
import numpy as np
import pytest
from fake_openai import picture
from guarded import REFUSED_WORD, Spy
from PIL import Image

from tutela.detectors import trigger
from tutela.errors import StoreError

# Read while the package is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

gr = pytest.importorskip("gradio")
client_of = pytest.importorskip("gradio_client")

from tutela.guard.integrations.gradio import UNJUDGED, UNSEEN, guard  # noqa: E402

pytestmark = [
    # The package's own use of what others give up.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:gradio"),
]

WISH = "a red teapot"
REFUSED = f"please {REFUSED_WORD} this"
NOT_SHOWN = "What was made can't be shown."
NOT_DONE = "This request is refused."


def as_image(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


class Site:
    """What the functions of an application saw, and what they are to give."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.made: Any = as_image(picture())


@pytest.fixture
def site() -> Site:
    return Site()


Open = Callable[[Any], Any]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Starts an application; gives its client."""
    running: list[Any] = []

    def start(demo: Any) -> Any:
        _, address, _ = demo.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        running.append(demo)
        return client_of.Client(address, verbose=False, analytics_enabled=False)

    yield start
    for demo in running:
        demo.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in (("photo", picture()), ("trigger", trigger.picture())):
        (tmp_path / f"{name}.png").write_bytes(data)
    return tmp_path


def fails(call: Callable[[], Any]) -> str:
    """What a user is told."""
    with pytest.raises(client_of.exceptions.AppError) as raised:
        call()
    return str(raised.value)


@pytest.mark.parametrize("form", ["pil", "numpy", "filepath"])
def test_an_interface_runs_only_for_what_is_allowed(
    form: str, opened: Open, site: Site, gate: Spy, folder: Path
) -> None:
    progress = gr.Progress()

    def paint(prompt: str, photo: Any, strength: float, progress: Any = progress) -> Any:
        site.seen.append(prompt)
        return site.made

    inputs = ["text", gr.Image(type=form), gr.Slider(0, 1)]
    client = opened(gr.Interface(guard(paint, gate), inputs, "image", api_name="paint"))

    def ask(prompt: str, name: str) -> Any:
        file = client_of.handle_file(str(folder / f"{name}.png"))
        return client.predict(prompt, file, 0.5, api_name="/paint")

    made = ask(WISH, "photo")
    assert as_image(Path(made).read_bytes()).size == site.made.size
    assert site.seen == [WISH]
    (asked,) = gate.requests
    assert asked.texts == (WISH,)
    (shown,) = asked.images
    assert np.array_equal(np.array(as_image(shown)), np.array(as_image(picture())))
    assert NOT_DONE in fails(lambda: ask(REFUSED, "photo"))
    assert NOT_DONE in fails(lambda: ask(WISH, "trigger"))
    assert site.seen == [WISH]
    site.made = as_image(trigger.picture())
    assert NOT_SHOWN in fails(lambda: ask(WISH, "photo"))


def test_blocks_with_state_streams_and_events(opened: Open, site: Site, gate: Spy) -> None:
    async def steps(prompt: str, count: int, request: gr.Request) -> AsyncIterator[Any]:
        assert request.client is not None
        for number in range(count):
            site.seen.append(number)
            yield site.made if number < 2 else as_image(trigger.picture()), f"step {number}"

    def texts(prompt: str, history: list[dict[str, str]]) -> Iterator[Any]:
        site.seen.append(prompt)
        yield gr.update(value=prompt), [*history, {"role": "user", "content": prompt}]
        yield gr.Textbox(value="done"), history

    async def both(prompt: str) -> tuple[list[Any], None]:
        return [(site.made, "one"), (as_image(trigger.picture()), "two")], None

    with gr.Blocks() as demo:
        prompt, count, history = gr.Textbox(), gr.Number(precision=0), gr.State([])
        image, said, gallery, nothing = gr.Image(), gr.Textbox(), gr.Gallery(), gr.Textbox()
        button = gr.Button()
        button.click(guard(steps, gate), [prompt, count], [image, said], api_name="steps")
        button.click(guard(texts, gate), [prompt, history], [said, history], api_name="texts")
        button.click(guard(both, gate), [prompt], [gallery, nothing], api_name="both")
    client = opened(demo)
    assert client.predict(WISH, 2, api_name="/steps")[1] == "step 1"
    assert site.seen == [0, 1]
    job = client.submit(WISH, 4, api_name="/steps")
    assert NOT_SHOWN in fails(job.result)
    assert len(job.outputs()) == 2
    assert site.seen == [0, 1, 0, 1, 2]
    assert client.predict(WISH, api_name="/texts")["value"] == "done"
    assert NOT_DONE in fails(lambda: client.predict(REFUSED, api_name="/texts"))
    assert NOT_SHOWN in fails(lambda: client.predict(WISH, api_name="/both"))


def painted(side: int = 32) -> dict[str, Any]:
    """What an `ImageEditor` gives for a photo with its left half painted over."""
    layer = Image.new("RGBA", (side, side))
    layer.paste((255, 0, 0, 255), (0, 0, side // 2, side))
    photo = as_image(picture()).resize((side, side))
    return {"background": photo, "layers": [layer], "composite": photo}


def test_what_is_painted_in_an_editor_is_the_mask(gate: Spy, tmp_path: Path) -> None:
    paint = guard(lambda edit, prompt: None, gate)
    given = painted()
    as_arrays = {name: np.array(value) for name, value in given.items()}
    as_arrays["layers"] = [np.array(given["layers"][0])]
    as_files = {name: str(tmp_path / f"{name}.png") for name in ("background", "composite")}
    for name, path in as_files.items():
        given[name].save(path)
    given["layers"][0].save(tmp_path / "layer.png")
    for one in (given, as_arrays, {**as_files, "layers": [str(tmp_path / "layer.png")]}):
        gate.reset()
        paint(one, WISH)
        (asked,) = gate.requests
        assert len(asked.images) == 1
        assert asked.mask is not None
        mask = np.array(Image.open(io.BytesIO(asked.mask)))
        assert mask.mean(axis=0).tolist() == [255] * 16 + [0] * 16
    gate.reset()
    paint({**given, "layers": [Image.new("RGBA", (32, 32))]}, WISH)
    assert gate.requests[0].mask is None


@pytest.mark.parametrize(
    "given",
    [object(), b"bytes", {"image": "https://example.org/photo.png"}, np.zeros(5000), Path("a.png")],
    ids=str,
)
def test_what_cant_be_examined_is_refused(given: Any, gate: Spy) -> None:
    ran: list[Any] = []
    with pytest.raises(gr.Error) as raised:
        guard(ran.append, gate)(given)
    assert raised.value.message == UNSEEN
    assert not ran
    assert guard(lambda prompt, state: prompt, gate, vouched=["state"])(WISH, given) == WISH


@pytest.mark.parametrize(
    "made",
    [
        f"<img src='data:image/png;base64,{'A' * 40}'>",
        "https://example.org/photo.png",
        object(),
        b"bytes",
    ],
    ids=lambda made: type(made).__name__,
)
def test_what_is_made_and_cant_be_seen_is_not_shown(made: Any, gate: Spy) -> None:
    with pytest.raises(gr.Error, match="can't be examined"):
        guard(lambda: made, gate)()


def test_files_that_are_given_back_are_judged_and_marked(gate: Spy, folder: Path) -> None:
    def dark(rgb: Any) -> Any:
        return np.zeros_like(rgb)

    photo = str(folder / "photo.png")
    assert guard(lambda: [photo, "a text"], gate)() == [photo, "a text"]
    marked, text = guard(lambda: [photo, "a text"], gate, mark=dark)()
    assert not np.array(marked).any()
    assert text == "a text"
    for refused in (str(folder / "trigger.png"), folder / "trigger.png"):
        with pytest.raises(gr.Error, match="can't be shown"):
            guard(lambda one=refused: {"value": [(one, "a text")]}, gate)()


def test_without_a_verdict_nothing_runs(gate: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the database can't be reached")

    monkeypatch.setattr(gate, "submit", fail)
    ran: list[Any] = []
    with pytest.raises(gr.Error) as raised:
        guard(ran.append, gate)(WISH)
    assert raised.value.message == UNJUDGED
    assert not ran


def test_the_example(
    opened: Open, gate: Spy, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert examples.as_they_run("guard-gradio.md")
    monkeypatch.setattr("tutela.guard.open", lambda data: gate)
    client = opened(examples.load("examples/gradio/painter.py").create())
    photo = client_of.handle_file(str(folder / "photo.png"))
    made = client.predict(WISH, photo, api_name="/paint")
    assert as_image(Path(made).read_bytes()).size == as_image(picture()).size
    assert NOT_DONE in fails(lambda: client.predict(REFUSED, photo, api_name="/paint"))
