"""Settings: `tutela.toml` in the data folder, then the environment (`TUTELA_…`), then arguments."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tutela.detectors import JudgeOptions, Options
from tutela.errors import ConfigurationError
from tutela.media.types import FILMS, Limits


class Settings(BaseSettings):
    """Every setting, with its default. docs/operating.md describes each."""

    model_config = SettingsConfigDict(
        env_prefix="TUTELA_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Path("tutela-data")
    database: str = ""
    """SQLAlchemy URL; empty means `tutela.db` in the data folder."""
    policy: Path | None = None
    """The policy file; none means the one that comes with Tutela."""
    guard_policy: Path | None = None
    """The policy file for what is asked of a model; none means the one that comes with Tutela."""
    workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=256)
    """Processes that decode, each in its sandbox."""
    max_bytes: int = Field(Limits().max_bytes, ge=1)
    max_pixels: int = Field(Limits().max_pixels, ge=1)
    max_frames: int = Field(Limits().max_frames, ge=1)
    max_seconds: float = Field(Limits().max_seconds, gt=0)
    max_memory: int = Field(Limits().max_memory, ge=1)
    film_bytes: int = Field(FILMS.max_bytes, ge=1)
    """The same bounds for films and sounds."""
    film_seconds: float = Field(FILMS.max_seconds, gt=0)
    film_memory: int = Field(FILMS.max_memory, ge=1)
    film_frames: int = Field(FILMS.max_frames, ge=1)
    film_duration: float = Field(FILMS.max_duration, gt=0)
    """Seconds that a film or a sound may play."""
    evidence: Literal["needed", "held", "full"] = "held"
    """Which detectors run: those that can change the action; also all others where content is
    held or blocked; or always all."""
    without: tuple[str, ...] = ()
    """Detectors that are installed and not to be asked, by name."""
    models_folder: Path | None = None
    """Where pulled models lie; none means `models` in the data folder."""
    trust_list: Path | None = None
    """Certificates, PEM, whose C2PA signatures count as trusted."""
    judge_url: str = ""
    """Base of an OpenAI-compatible API that gives a second opinion on texts; none if empty."""
    judge_model: str = ""
    judge_key_file: Path | None = None
    judge_seconds: float = Field(5.0, gt=0, le=120)
    judge_style: Literal["question", "llama-guard"] = "question"
    mark_certificate: Path | None = None
    """Certificates, PEM, by which what a model made is signed; none means that it isn't."""
    mark_key: Path | None = None
    """The private key of the first of them, PEM."""
    mark_watermark: bool = True
    """Whether what a model made gets an invisible watermark."""
    watermark_key: Path | None = None
    """A key of your own for the watermark; none means the public one."""
    secret_file: Path | None = None
    """The secret of this deployment; none means `secret.key` in the data folder."""
    receipt_key: Path | None = None
    """The private key that signs receipts; none means `receipt.key` in the data folder."""
    case_photos: int = Field(20, ge=1)
    """Photos that one case may protect."""
    bank_photos: int = Field(100_000, ge=1)
    """Protected photos that one bank may hold."""
    widely_shared: int = Field(25, ge=2, le=1_000)
    """Accounts that show a protected photo before a reviewer should decide about it."""
    refusals_per_hour: int = Field(5, ge=1, le=1_000)
    """Refusals of one account within an hour from which it is a case to look into."""
    fetch_hosts: tuple[str, ...] = ()
    """Hosts that `POST /v1/screen` may fetch from; none means that fetching is off."""
    fetch_http: bool = False
    """Whether plain http may be fetched too."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments over the environment over `tutela.toml`."""
        given = {**env_settings(), **init_settings()}
        file = Path(given.get("data", "tutela-data")) / "tutela.toml"
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    def make_data(self) -> None:
        """Make the data folder, for this user alone: it holds fingerprints and verdicts."""
        try:
            self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"the data folder {self.data} can't be made: {error.strerror}; name another one"
            ) from error

    @property
    def limits(self) -> Limits:
        """The bounds on decoding."""
        return Limits(
            self.max_bytes, self.max_pixels, self.max_frames, self.max_seconds, self.max_memory
        )

    @property
    def film_limits(self) -> Limits:
        """The bounds on decoding a film or a sound."""
        return replace(
            FILMS,
            max_bytes=self.film_bytes,
            max_frames=self.film_frames,
            max_seconds=self.film_seconds,
            max_memory=self.film_memory,
            max_duration=self.film_duration,
        )

    @property
    def models_path(self) -> Path:
        """Where pulled models lie, or will."""
        return self.models_folder or self.data / "models"

    def detector_options(self) -> Options:
        """What detectors are told. Raises `ConfigurationError` for a list that can't be read."""
        trust = ""
        if self.trust_list is not None:
            try:
                trust = self.trust_list.read_text("ascii")
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigurationError(
                    f"the trust list {self.trust_list} can't be read: {error}; name a PEM file"
                ) from error
        judge = None
        if self.judge_url:
            if not self.judge_model:
                raise ConfigurationError("judge_url is set; name the model in judge_model too")
            judge = JudgeOptions(
                self.judge_url,
                self.judge_model,
                self.judge_key_file,
                self.judge_seconds,
                self.judge_style,
            )
        return Options(self.models_path, trust, judge, self.watermark_key)

    @property
    def secret_path(self) -> Path:
        """Where the secret of this deployment lies, or will."""
        return self.secret_file or self.data / "secret.key"

    @property
    def receipt_path(self) -> Path:
        """Where the key that signs receipts lies, or will."""
        return self.receipt_key or self.data / "receipt.key"

    @property
    def database_url(self) -> str:
        """The database's URL, resolved."""
        return self.database or f"sqlite:///{(self.data / 'tutela.db').as_posix()}"


def load(data: Path | str | None = None, **given: Any) -> Settings:
    """The settings for a data folder. Raises `ConfigurationError` naming the setting."""
    if data is not None:
        given["data"] = Path(data)
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'settings'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise ConfigurationError(f"settings can't be used: {wrong}") from error
    except ValueError as error:
        # pydantic says which source it read: the file or the environment.
        raise ConfigurationError(
            f"tutela.toml or the environment can't be read: {error}"
        ) from error
