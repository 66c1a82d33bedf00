"""Fingerprints of content, as plug-ins: the built-in ones use the same entry points as others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import entry_points

from tutela.errors import ConfigurationError, InvalidSignal
from tutela.signals.base import Fingerprint, Hit, Match, SignalType, Stored, nearest

__all__ = [
    "LOCAL",
    "Fingerprint",
    "Hit",
    "Match",
    "SignalType",
    "Stored",
    "find",
    "installed",
    "load",
    "nearest",
    "parse",
]

GROUP = "tutela.signals"
LOCAL = "local"
"""The signal that finds derivatives of protected photos. It is taken of content only where there
are any, kept only keyed and sealed, and never shown or recorded."""


@cache
def installed() -> Mapping[str, SignalType]:
    """Every signal plug-in that is installed, by name. Raises `ConfigurationError`."""
    found: dict[str, SignalType] = {}
    for point in entry_points(group=GROUP):
        try:
            signal: SignalType = point.load()
        except Exception as error:
            raise ConfigurationError(
                f"the signal plug-in {point.name} ({point.value}) does not load: {error}; "
                "reinstall or remove the package that brings it"
            ) from error
        found[signal.name] = signal
    if not found:
        raise ConfigurationError("no signal plug-in is installed; reinstall tutela")
    return dict(sorted(found.items()))


def load(names: Iterable[str] | None = None) -> tuple[SignalType, ...]:
    """The named signals, or all that are installed. Raises `ConfigurationError`."""
    return tuple(installed().values() if names is None else (find(name) for name in names))


def find(name: str) -> SignalType:
    """The signal of that name. Raises `ConfigurationError`."""
    try:
        return installed()[name]
    except KeyError:
        known = ", ".join(installed())
        raise ConfigurationError(f"no signal is named {name!r}; installed: {known}") from None


def parse(text: str) -> tuple[SignalType, bytes]:
    """A fingerprint written `name:value`, e.g. `pdq:d8f8…`. Raises `InvalidSignal`."""
    name, colon, value = text.partition(":")
    if not colon or name not in installed():
        known = ", ".join(installed())
        raise InvalidSignal(f"write a fingerprint as name:value, with one of {known}")
    signal = find(name)
    return signal, signal.parse(value)
