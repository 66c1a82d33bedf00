"""What requests look like, with examples for the OpenAPI description."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from fastapi import Path
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from tutela.banks import Tier
from tutela.content import Context

# A NUL is no text to PostgreSQL, and nobody types one.
NO_NUL = r"^[^\x00]*$"
Short = Annotated[str, StringConstraints(max_length=200, pattern=NO_NUL)]
Text = Annotated[str, StringConstraints(max_length=2_000, pattern=NO_NUL)]
Number = Annotated[int, Path(ge=1, le=2**63 - 1)]
ImportNumber = Annotated[int, Path(ge=1, le=2**31 - 1)]
Likelihood = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MAX_BATCH = 100


def _decoded(text: object) -> bytes:
    # pydantic's own type skips characters that are no base64: a typing error would pass.
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError:
        raise ValueError("not base64") from None


Base64 = Annotated[bytes, BeforeValidator(_decoded, json_schema_input_type=str)]


class Shape(BaseModel):
    """Fields that are not known are refused: a typing mistake must not pass as a default."""

    model_config = ConfigDict(extra="forbid")


class ContextIn(Shape):
    """Where content came from, for the policy."""

    surface: Short = Field(default="", description="Where it would appear.", examples=["feed"])
    account: Short = Field(default="", description="Your opaque reference to the account.")
    jurisdiction: Short = Field(default="", description="ISO 3166 code.", examples=["FR"])
    locale: Short = Field(default="", description="BCP 47 tag.", examples=["pt-BR"])
    tags: dict[Short, Short] = Field(default_factory=dict, max_length=32)

    def context(self) -> Context:
        return Context(self.surface, self.account, self.jurisdiction, self.locale, self.tags)


class ScreenIn(Shape):
    """Content to screen. Exactly one of `data`, `signals`, `url` and `text` is given."""

    data: Base64 | None = Field(default=None, description="The file, in base64.", repr=False)
    signals: dict[str, str] | None = Field(
        default=None,
        description="Fingerprints, when the file itself is elsewhere.",
        examples=[{"pdq": "d8f8f0cce0f4a84f0e370a22028f67f0b36e2ed596623e1d33e6339c4e9c9b22"}],
        min_length=1,
        max_length=16,
    )
    url: str | None = Field(
        default=None, description="Fetched if the server allows its host.", max_length=2048
    )
    text: Annotated[str, StringConstraints(max_length=1 << 20)] | None = Field(
        default=None, repr=False
    )
    context: ContextIn = ContextIn()
    nudity: Likelihood | None = Field(
        default=None, description="Likelihood of nudity, by a classifier of your own."
    )

    @model_validator(mode="after")
    def _one(self) -> ScreenIn:
        given = (self.data, self.signals, self.url, self.text)
        if sum(part is not None for part in given) != 1:
            raise ValueError("give exactly one of data, signals, url and text")
        return self


class BatchIn(Shape):
    """Several pieces of content, judged and recorded together."""

    items: list[ScreenIn] = Field(min_length=1, max_length=MAX_BATCH)


class BankIn(Shape):
    """A bank to make."""

    name: Short = Field(examples=["hotline"])
    tier: Tier
    owner: Text = ""
    purpose: Text = ""
    category: Short | None = None


class Change(Shape):
    """Fields that are absent stay as they are; only those in `clearable` can be null."""

    clearable: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="after")
    def _no_null(self) -> Self:
        given = self.model_dump(exclude_unset=True)
        nulls = [name for name, value in given.items() if value is None]
        if wrong := sorted(set(nulls) - self.clearable):
            raise ValueError(f"{', '.join(wrong)} can't be null; leave it out to keep it")
        return self

    def changes(self) -> dict[str, Any]:
        """What to change; times without a zone are UTC."""
        return {
            name: value.replace(tzinfo=UTC)
            if isinstance(value, datetime) and value.tzinfo is None
            else value
            for name, value in self.model_dump(exclude_unset=True).items()
        }


class BankChange(Change):
    """What of a bank to change."""

    clearable = frozenset({"category", "disabled_until"})

    tier: Tier | None = None
    owner: Text | None = None
    purpose: Text | None = None
    category: Short | None = None
    enabled: bool | None = None
    disabled_until: datetime | None = None


class EntriesIn(Shape):
    """Fingerprints to put into a bank, each as `name:value`."""

    signals: list[Short] = Field(min_length=1, max_length=10_000, examples=[["md5:" + "0" * 32]])
    note: Text = ""
    tags: list[Short] = Field(default_factory=list, max_length=32)
    expires_at: datetime | None = None


class ProtectIn(Shape):
    """What goes with a photo to protect."""

    case: Short = Field(default="", description="Your reference to the case.")
    note: Text = ""
    expires_at: datetime | None = None


class DecisionIn(Shape):
    """A reviewer's decision on a protected photo."""

    decision: Literal["keep", "drop"]


class EntryChange(Change):
    """What of an entry to change."""

    clearable = frozenset({"disabled_until", "expires_at"})

    note: Text | None = None
    tags: list[Short] | None = None
    enabled: bool | None = None
    disabled_until: datetime | None = None
    expires_at: datetime | None = None
