"""Every error that Tutela raises, in one tree.

TutelaError
├── Rejected              content that can't be examined: it holds, with a typed reason
├── InvalidSignal         text that is not a fingerprint of the named signal
├── ConfigurationError    a setting, plug-in or model that can't be used
│   ├── ModelMissing      a model that is not known, or whose file is not there
│   ├── ModelDamaged      a model's file that is not the one its card names
│   └── LicenceNotAccepted  a model that nobody accepted the licence of
├── ModelFailed           a model that gave no answer: the content holds
├── PolicyError           a policy file that can't be used, with its line
├── BankError             a bank operation that is refused
│   ├── UnknownBank
│   ├── BankExists
│   ├── UnknownEntry
│   ├── ImportRefused     an import that was quarantined or has no good row
│   └── NotProtected      a photo that was not taken under protection, with a typed reason
├── StoreError            the database can't be reached, or is of another version
├── IndexDamaged          a snapshot that fails its checksum or is of another version
├── SealBroken            a sealed record that does not open
├── ReceiptInvalid        a receipt that is none, was altered, or is signed by another key
├── FetchRefused          a URL that Tutela will not fetch
├── RequestRefused        a request to a generative model that the guard refuses
│   └── Unexaminable      a part of one, in a form that can't be examined
├── MarkingFailed         a picture that can't be marked as the settings ask: it must not leave
├── OutputRefused         what a generative model made and the guard keeps back
└── AccessDenied          a key that is unknown, or lacks the scope or the rate

Each message says what happened and names the cure. A lower layer's exception never leaves
a public function as it is.
"""

from __future__ import annotations

from enum import StrEnum


class TutelaError(Exception):
    """Base of every error that Tutela raises on purpose."""


class Reason(StrEnum):
    """Why content could not be examined."""

    EMPTY = "empty"
    UNKNOWN_TYPE = "unknown-type"
    UNSUPPORTED = "unsupported"
    CORRUPT = "corrupt"
    TRUNCATED = "truncated"
    TOO_MANY_BYTES = "too-many-bytes"
    TOO_MANY_PIXELS = "too-many-pixels"
    TOO_MANY_FRAMES = "too-many-frames"
    TOO_LONG = "too-long"
    TOO_MUCH_MEMORY = "too-much-memory"
    TOO_SLOW = "too-slow"
    DECODER_CRASHED = "decoder-crashed"
    UNREADABLE_FILE = "unreadable-file"


class Rejected(TutelaError):
    """Content that can't be examined; the verdict is then `hold`, never `allow`.

    `reason` is for programs, the message for people. Neither quotes the content.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[Rejected], tuple[Reason, str]]:
        return type(self), (self.reason, self.message)


class InvalidSignal(TutelaError):
    """Text that is not a fingerprint of the named signal."""


class ConfigurationError(TutelaError):
    """A setting, plug-in or model that can't be used."""


class ModelMissing(ConfigurationError):
    """A model that is not known, or whose file is not there or can't be fetched."""


class ModelDamaged(ConfigurationError):
    """A model's file that is not the one its card names."""


class LicenceNotAccepted(ConfigurationError):
    """A model that is not fetched before somebody accepts its licence."""


class ModelFailed(TutelaError):
    """A model that gave no answer: it failed, took too long, or too many wait for it."""


class PolicyError(TutelaError):
    """A policy file that can't be used. `line` is 1-based; 0 when no single line is at fault."""

    def __init__(self, message: str, *, source: str = "", line: int = 0) -> None:
        where = f"{source}:{line}: " if line else f"{source}: " if source else ""
        super().__init__(f"{where}{message}")
        self.message = message
        self.source = source
        self.line = line


class BankError(TutelaError):
    """A bank operation that is refused."""


class UnknownBank(BankError):
    """No bank of that name; `tutela bank list` shows those there are."""


class BankExists(BankError):
    """A bank of that name exists already."""


class UnknownEntry(BankError):
    """No entry of that number in the bank."""


class ImportRefused(BankError):
    """An import that was quarantined, or holds no usable row."""


class Unprotectable(StrEnum):
    """Why a photo was not taken under protection."""

    TOO_FLAT = "too-flat"
    CASE_FULL = "case-full"
    BANK_FULL = "bank-full"


class NotProtected(BankError):
    """A photo that was not taken under protection. `reason` is for programs."""

    def __init__(self, reason: Unprotectable, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class StoreError(TutelaError):
    """The database can't be reached, or its tables are of another version."""


class IndexDamaged(TutelaError):
    """A snapshot that fails its checksum or is of another version; it is rebuilt from the store."""


class SealBroken(TutelaError):
    """A sealed record that does not open: it is damaged, or was altered."""


class ReceiptInvalid(TutelaError):
    """A receipt that is none, was altered, or is signed by another key than the one named."""


class FetchRefused(TutelaError):
    """A URL that Tutela will not fetch."""


class RequestRefused(TutelaError):
    """A request to a generative model that the guard refuses. The message may be shown to anyone.

    `verdict` is the id under which the operator finds why; `""` where nothing was recorded.
    """

    def __init__(self, verdict: str = "", message: str = "This request is refused.") -> None:
        super().__init__(message)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[RequestRefused], tuple[str, str]]:
        return type(self), (self.verdict, str(self))


class Unexaminable(RequestRefused):
    """A part of a request in a form that the guard can't see into. The message names the part."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__("", message)
        self.name = name

    def __reduce__(self) -> tuple[type[Unexaminable], tuple[str, str]]:
        return type(self), (self.name, str(self))


class MarkingFailed(TutelaError):
    """A picture that can't be marked as the settings ask for: it must not leave."""


class OutputRefused(TutelaError):
    """What a generative model made and the guard keeps back. The message may be shown to anyone.

    `verdict` is as in `RequestRefused`.
    """

    def __init__(self, verdict: str = "", message: str = "What was made can't be shown.") -> None:
        super().__init__(message)
        self.verdict = verdict

    def __reduce__(self) -> tuple[type[OutputRefused], tuple[str, str]]:
        return type(self), (self.verdict, str(self))


class AccessDenied(TutelaError):
    """A key that is unknown, or lacks the scope or the rate for this call."""
