"""Requests of the OpenAI API: what each endpoint takes.

Each endpoint has a table of the fields that are known; a field that is not in it is refused, for
it could carry a text or a picture that nobody examined. What is read becomes one request to the
gate, and the body for the upstream is written anew from the same reading: what was judged is what
goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tutela.content import Context
from tutela.guard.bodies import Field, Unreadable, read_form, read_json, text_of, write_form
from tutela.guard.gate import Operation, Request
from tutela.guard.reading import (
    MEDIA,
    Picture,
    Read,
    Reading,
    Unexamined,
    as_it_is,
    bare_picture,
    drawing,
    drawn,
    either,
    kinds,
    label,
    leave_out,
    many,
    mask,
    media_of,
    needs,
    notes,
    off,
    picture,
    plain,
    prose,
    record,
    text,
    tools_that_draw,
    unwanted,
)

FORM_PICTURES: Final = {"image": False, "image[]": False, "markup": False, "mask": True}
"""The parts of a form that are pictures, and whether they are the mask."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that was read."""

    operation: Operation
    texts: tuple[str, ...] = field(repr=False)
    unwanted: str = field(repr=False)
    pictures: tuple[Picture, ...] = field(repr=False)
    account: str = field(repr=False)
    """Whom the caller says that it is for; `""` if nothing is said."""
    stream: bool
    as_url: bool
    """Whether the caller wants pictures as URLs."""
    tree: dict[str, Any] = field(repr=False)
    form: bool = False

    def request(self, context: Context) -> Request:
        """What the gate is asked."""
        masks = [one.data for one in self.pictures if one.mask]
        return Request(
            texts=self.texts,
            unwanted=self.unwanted,
            images=tuple(one.data for one in self.pictures if not one.mask),
            mask=masks[0] if masks else None,
            operation=self.operation,
            context=context,
        )

    def body(self) -> tuple[bytes, str]:
        """The body for the upstream and its content type, written from what was read."""
        if self.form:
            return write_form(_parts(self.tree))
        option = orjson.OPT_PASSTHROUGH_DATACLASS
        return orjson.dumps(self.tree, Picture.written, option), "application/json"


def generations(content_type: str, body: bytes, allow: frozenset[Unexamined]) -> Asked:
    """`POST /v1/images/generations`. Raises `Unreadable`, as all of these do."""
    reading = Reading(allow)
    tree = GENERATIONS(reading, read_json(content_type, body), "")
    return _asked(Operation.GENERATE, reading, tree)


def edits(content_type: str, body: bytes, allow: frozenset[Unexamined]) -> Asked:
    """`POST /v1/images/edits`, as a form or as JSON."""
    reading = Reading(allow)
    if content_type.lower().startswith("application/json"):
        tree = EDITS(reading, read_json(content_type, body), "")
        return _asked(Operation.EDIT, reading, tree)
    return _asked(
        Operation.EDIT, reading, _form(reading, EDITS_FORM, content_type, body), form=True
    )


def variations(content_type: str, body: bytes, allow: frozenset[Unexamined]) -> Asked:
    """`POST /v1/images/variations`, a form."""
    reading = Reading(allow)
    tree = _form(reading, VARIATIONS_FORM, content_type, body)
    return _asked(Operation.VARIATION, reading, tree, form=True)


def chat(content_type: str, body: bytes, allow: frozenset[Unexamined]) -> Asked:
    """`POST /v1/chat/completions`."""
    reading = Reading(allow)
    tree = CHAT(reading, read_json(content_type, body), "")
    if "audio" in (tree.get("modalities") or ()) and Unexamined.AUDIO not in allow:
        raise Unreadable("Sound can't be examined, so it is not asked for.", "modalities")
    return _asked(Operation.CHAT, reading, tree)


def responses(content_type: str, body: bytes, allow: frozenset[Unexamined]) -> Asked:
    """`POST /v1/responses`."""
    reading = Reading(allow)
    tree = RESPONSES(reading, read_json(content_type, body), "")
    operation = Operation.CHAT
    if tools_that_draw(tree.get("tools")):
        operation = Operation.EDIT if reading.pictures else Operation.GENERATE
    return _asked(operation, reading, tree)


def _asked(
    operation: Operation, reading: Reading, tree: dict[str, Any], form: bool = False
) -> Asked:
    as_url = tree.get("response_format") == "url"
    if as_url:
        # The bytes that are judged are those that are handed on: an address could give others.
        tree["response_format"] = "b64_json"
    return Asked(
        operation=operation,
        texts=tuple(reading.texts),
        unwanted="\n".join(reading.unwanted),
        pictures=tuple(reading.pictures),
        account=str(tree.get("safety_identifier") or tree.get("user") or ""),
        stream=tree.get("stream") in (True, "true", "True", "1"),
        as_url=as_url,
        tree=tree,
        form=form,
    )


def _form(reading: Reading, fields: Read, content_type: str, body: bytes) -> dict[str, Any]:
    """The fields of a form; pictures stand in it as lists."""
    given: dict[str, Any] = {}
    pictures: dict[str, list[Picture]] = {}
    for part in read_form(content_type, body):
        if part.name in FORM_PICTURES:
            pictures.setdefault(part.name, []).append(_file(reading, part))
        elif part.name in given:
            raise Unreadable("A field of the form is given twice.")
        else:
            given[part.name] = text_of(part)
    named = [name for name in ("image", "image[]") if name in pictures]
    if len(named) != 1:
        raise Unreadable("The form has no image, or names its images in two ways.", "image")
    if any(len(files) > 1 for name, files in pictures.items() if name != "image[]"):
        raise Unreadable("A field of the form is given twice; several images are `image[]`.")
    read: dict[str, Any] = fields(reading, given, "")
    return {**read, **pictures}


def _file(reading: Reading, part: Field) -> Picture:
    if not part.file:
        raise Unreadable("A picture of the form is no file.", part.name)
    media_of(part.value)
    return reading.add(Picture(part.value, mask=FORM_PICTURES[part.name]))


def _parts(tree: dict[str, Any]) -> Iterator[tuple[str, str, bytes, str]]:
    for name, value in tree.items():
        if isinstance(value, list):
            for number, one in enumerate(value, 1):
                media = media_of(one.data)
                kind = next(kind for kind, known in MEDIA.items() if known == media)
                yield name, f"{name.removesuffix('[]')}{number}.{kind}", one.data, media
        else:
            yield name, "", str(value).encode(), ""


# The tables ---------------------------------------------------------------------------------------


def _all(read: Read, names: str) -> dict[str, Read]:
    return dict.fromkeys(names.split(), read)


_DRAWING = {
    "output_format": drawn,
    **_all(
        plain,
        """
        background complexity frame_count frame_duration_ms input_fidelity model moderation n
        output_compression partial_images quality response_format size stream style user
        safety_identifier seed steps num_inference_steps guidance_scale cfg_scale strength
        """,
    ),
}
_WORDS: dict[str, Read] = {"prompt": text, "negative_prompt": unwanted}
_FILE = {"file_id": needs(Unexamined.FILES, label)}

GENERATIONS = record({**_WORDS, **_DRAWING}, "prompt")
EDITS = record(
    {
        **_WORDS,
        "images": many(record({"image_url": picture, **_FILE})),
        "mask": record({"image_url": mask, **_FILE}),
        **_DRAWING,
    },
    "prompt",
    "images",
)
_FORM = {name: label for name in _DRAWING if name != "output_format"}
EDITS_FORM = record({**_WORDS, "output_format": drawn, **_FORM}, "prompt")
VARIATIONS_FORM = record(_all(label, "model n response_format size user"))

_CACHE: dict[str, Read] = {"type": label, "prompt_cache_breakpoint": plain}
_CHAT_PART = kinds(
    {
        "text": record({"text": text, **_CACHE}, "text"),
        "refusal": record({"refusal": text, **_CACHE}, "refusal"),
        "image_url": record(
            {"image_url": record({"url": picture, "detail": label}, "url"), **_CACHE}, "image_url"
        ),
        "input_audio": needs(Unexamined.AUDIO, record({"input_audio": as_it_is, **_CACHE})),
        "file": needs(Unexamined.FILES, record({"file": as_it_is, **_CACHE})),
    }
)
_CHAT_CONTENT = either(text, many(_CHAT_PART))
_CALL = record({"name": label, "arguments": text})
_TOOL_CALL = kinds(
    {
        "function": record({"id": label, "type": label, "index": plain, "function": _CALL}),
        "custom": record(
            {"id": label, "type": label, "custom": record({"name": label, "input": text})}
        ),
    },
    usual="function",
)
_MESSAGE = record(
    {
        "role": label,
        "name": label,
        "tool_call_id": label,
        "content": _CHAT_CONTENT,
        "refusal": text,
        "reasoning_content": text,
        "annotations": prose,
        "audio": needs(Unexamined.STORED, plain),
        "function_call": _CALL,
        "tool_calls": many(_TOOL_CALL),
    },
    "role",
)
_CHAT_TOOL = kinds({"function": prose, "custom": prose})
_SHARED = {
    "metadata": notes,
    **_all(
        plain,
        """
        model max_tool_calls moderation parallel_tool_calls prompt_cache_key prompt_cache_options
        prompt_cache_retention safety_identifier service_tier store stream stream_options
        temperature tool_choice top_logprobs top_p user verbosity
        """,
    ),
}
CHAT = record(
    {
        "tools": many(_CHAT_TOOL),
        "functions": prose,
        "messages": many(_MESSAGE),
        "prediction": record({"type": label, "content": _CHAT_CONTENT}),
        "response_format": prose,
        "stop": either(text, many(text)),
        "audio": needs(Unexamined.AUDIO, plain),
        "web_search_options": needs(Unexamined.TOOLS, prose),
        **_SHARED,
        **_all(
            plain,
            """
            frequency_penalty function_call logit_bias logprobs max_completion_tokens max_tokens
            min_p modalities n presence_penalty reasoning_effort repetition_penalty seed top_k
            """,
        ),
    },
    "messages",
)

_PART = kinds(
    {
        "input_text": record({"text": text, **_CACHE}, "text"),
        "output_text": record(
            {"text": text, "annotations": prose, "logprobs": leave_out, **_CACHE}, "text"
        ),
        "summary_text": record({"text": text, **_CACHE}, "text"),
        "reasoning_text": record({"text": text, **_CACHE}, "text"),
        "refusal": record({"refusal": text, **_CACHE}, "refusal"),
        "input_image": record({"image_url": picture, "detail": label, **_FILE, **_CACHE}),
        "input_file": needs(Unexamined.FILES, as_it_is),
        "input_audio": needs(Unexamined.AUDIO, as_it_is),
    }
)
_CONTENT = either(text, many(_PART))
_ABOUT: dict[str, Read] = _all(
    plain, "type id call_id status name namespace caller role phase async"
)
_OUTPUT = record({**_ABOUT, "output": _CONTENT}, "output")
_TOOL_ITEM = needs(Unexamined.TOOLS, prose)
_ITEM = kinds(
    {
        "message": record({**_ABOUT, "content": _CONTENT}, "content"),
        "function_call": record({**_ABOUT, "arguments": text}, "arguments"),
        "function_call_output": _OUTPUT,
        "custom_tool_call": record({**_ABOUT, "input": text}, "input"),
        "custom_tool_call_output": _OUTPUT,
        "reasoning": record(
            {
                **_ABOUT,
                "summary": many(_PART),
                "content": many(_PART),
                "encrypted_content": needs(Unexamined.OPAQUE, as_it_is),
            }
        ),
        "image_generation_call": drawing(
            {
                **_ABOUT,
                "revised_prompt": text,
                "result": bare_picture,
                "error": prose,
                **_all(plain, "action background output_format quality size svg_usage"),
            },
        ),
        "computer_call_output": record(
            {
                **_ABOUT,
                "output": record({"type": label, "image_url": picture, **_FILE}),
                "acknowledged_safety_checks": prose,
            }
        ),
        "item_reference": needs(Unexamined.STORED, plain),
        "compaction": needs(Unexamined.OPAQUE, as_it_is),
        "local_shell_call": prose,
        "local_shell_call_output": prose,
        "apply_patch_call": prose,
        "apply_patch_call_output": prose,
        **_all(
            _TOOL_ITEM,
            """
            additional_tools code_interpreter_call computer_call file_search_call
            mcp_approval_request mcp_approval_response mcp_call mcp_list_tools program
            program_output shell_call shell_call_output tool_search_call tool_search_output
            web_search_call
            """,
        ),
    },
    usual="message",
)
_TOOL = kinds(
    {
        "function": prose,
        "custom": prose,
        "local_shell": plain,
        "apply_patch": plain,
        "image_generation": record(
            {
                "type": label,
                "action": label,
                **{name: read for name, read in _DRAWING.items() if name not in ("user", "n")},
                "input_image_mask": record({"image_url": mask, **_FILE}),
            }
        ),
        **_all(
            _TOOL_ITEM,
            """
            code_interpreter computer computer_use_preview file_search mcp namespace
            programmatic_tool_calling shell tool_search web_search web_search_2025_08_26
            web_search_preview web_search_preview_2025_03_11
            """,
        ),
    }
)
RESPONSES = record(
    {
        "instructions": text,
        "tools": many(_TOOL),
        "prompt": needs(
            Unexamined.STORED,
            record({"id": label, "version": label, "variables": prose}),
        ),
        "previous_response_id": needs(Unexamined.STORED, label),
        "conversation": needs(Unexamined.STORED, plain),
        "input": either(text, many(_ITEM)),
        "text": prose,
        "background": off,
        **_SHARED,
        **_all(plain, "context_management image include max_output_tokens reasoning truncation"),
    },
)
