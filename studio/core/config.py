"""Settings: environment, ``configs/studio.yaml``, defaults; frozen and checked.

A setting comes from ``$STUDIO_SECTION__FIELD`` (``STUDIO_SERVER__PORT=8080``), else from the file,
else from the default here. So a field that is new never breaks a site's own file; one that no
section knows is refused by name. The shipped file shows every field at its default.

>>> from studio.core.paths import shipped_configs
>>> config = load_config(shipped_configs() / "studio.yaml")
>>> config.generation.min_duration_s
3.0
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from studio.core.errors import ConfigError
from studio.core.outbound.hosts import AllowedHosts
from studio.core.territories import TERRITORY_PATTERN

__all__ = [
    "FORMATS",
    "AccountsConfig",
    "CredentialsConfig",
    "DatabaseConfig",
    "GenerationConfig",
    "LedgerConfig",
    "OutputFormat",
    "PublicDetectorConfig",
    "QuotaConfig",
    "SealConfig",
    "SecurityLogConfig",
    "ServerConfig",
    "SharingConfig",
    "StudioConfig",
    "UploadConfig",
    "VerifyConfig",
    "WebhookConfig",
    "load_config",
]

OutputFormat = Literal["wav", "flac", "mp3", "m4a"]

FORMATS: tuple[OutputFormat, ...] = ("wav", "flac", "mp3", "m4a")
"""Formats in which an output can be released."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GenerationConfig(_Frozen):
    """What a request that leaves something open gets, and the limits of any request."""

    model: str = "house"
    duration_s: float = Field(default=10.0, gt=0)
    min_duration_s: float = Field(
        default=3.0, ge=2.0
    )  # the seal needs two seconds of carrier at the least
    max_duration_s: float = Field(default=180.0, gt=0)
    use: Literal["experiment", "noncommercial", "commercial"] = "noncommercial"
    territory: str = Field(default="WORLD", pattern=TERRITORY_PATTERN)
    format: OutputFormat = "wav"
    mp3_bitrate: int = Field(default=192_000, ge=64_000, le=320_000)  # bit/s

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.min_duration_s <= self.duration_s <= self.max_duration_s:
            raise ValueError("duration_s must lie between min_duration_s and max_duration_s")
        return self


class SealConfig(_Frozen):
    """Which seal model marks outputs, and when a seal counts as readable."""

    model: str = "house"
    strengths: tuple[PositiveFloat, ...] = Field(default=(1.0, 1.25, 1.6), min_length=1)
    """Multiples of the pair's own strength (linear gain), tried in this order."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if list(self.strengths) != sorted(set(self.strengths)):
            raise ValueError("strengths must rise")
        return self


class VerifyConfig(_Frozen):
    """Operating points of verification."""

    max_speed_change: float = Field(default=0.06, ge=0, le=0.1)
    """Speeds up to so far from 1 are searched and undone where the content does not match."""
    other_readers: tuple[str, ...] = ()
    """Readers of others' marks, each ``package.module:function``; see docs/verification.md."""
    url_hosts: tuple[str, ...] = ()
    """Hosts whose addresses may be fetched, held and examined; as ``webhooks.hosts``."""
    held_bytes: int = Field(default=4_294_967_296, gt=0)
    """Of all files that were fetched and are held."""
    whole_share: float = Field(default=0.9, gt=0, le=1)
    """Share of file and of original that must overlap for `sealed`; below it is an `excerpt`."""

    @field_validator("url_hosts")
    @classmethod
    def _readable(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        AllowedHosts.parse(hosts)
        return hosts

    @property
    def urls(self) -> AllowedHosts:
        """The allow list of addresses."""
        return AllowedHosts.parse(self.url_hosts)


class UploadConfig(_Frozen):
    """Limits on files from outside."""

    max_duration_s: float = Field(default=1200.0, gt=0)
    max_bytes: int = Field(default=209_715_200, gt=0)
    deadline_s: float = Field(default=120.0, gt=0)
    held_bytes: int = Field(default=1_073_741_824, gt=0)
    """Uploads of one account on disk at a time."""
    hourly_bytes: int = Field(default=8_589_934_592, gt=0)
    """Uploads of one account within an hour."""
    max_values: int = Field(default=536_870_912, gt=0)
    """Samples times channels that are examined, of all streams of a file together."""
    examination_s: float = Field(default=240.0, gt=0)
    """Wall-clock time of one examination over page and REST layer."""
    isolate: bool = True
    """Decode them in a child process with limits, which costs about 0.2 s a file."""
    allow_unfiltered: bool = False
    """Decode them there even where the system refuses the child its system-call filter."""


class CredentialsConfig(_Frozen):
    """Who signs Content Credentials; paths are relative to the configuration folder."""

    namespace: str = Field(
        default="org.consented-music-studio", pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)+$"
    )
    """Reverse-DNS name of the site: the prefix of its soft binding and of its own assertions."""
    certificate_chain: str | None = None
    """PEM, leaf first; none: a development chain is made at first start."""
    private_key: str | None = None
    """PEM of the leaf's key, owner-only."""
    signer: str | None = None
    """Instead of a key file: ``package.module:function``, which asks a hardware module."""
    trust_anchors: tuple[str, ...] = ()
    """PEM files of roots that are trusted beside the studio's own."""
    timestamp_authority: str | None = Field(default=None, pattern=r"^https?://")
    """RFC 3161 service asked at every signature; none: no outside request is ever made."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        keys = [self.private_key, self.signer].count(None)
        if (self.certificate_chain is None) != (keys == 2) or keys == 0:
            raise ValueError("certificate_chain comes with either private_key or signer")
        return self


class ServerConfig(_Frozen):
    """Where `studio serve` listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65535)
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks whose X-Forwarded-For, -Proto and -Host are believed; of no other."""
    workers: int = Field(default=0, ge=0, le=64)
    """Server processes that share the database; 0: one, which makes the music itself."""
    lease_s: float = Field(default=30.0, ge=1)
    """A worker that was not heard of for so long has lost its job to another one."""
    attempts: int = Field(default=8, ge=1)
    """A job whose workers ended so often without an answer is given up."""
    mcp: bool = False
    """Serve the tools for assistants (Model Context Protocol) at ``/mcp``."""
    public_url: str | None = None
    """Where people reach the page, ``https://studio.example``; printed on receipts."""
    allowed_hosts: tuple[str, ...] = ()
    """Further names under which it is reached; with this or ``public_url`` no others answer."""

    @field_validator("public_url")
    @classmethod
    def _origin(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or "@" in parts.netloc
            or parts.path not in ("", "/")
            or parts.query
            or parts.fragment
        ):
            raise ValueError("an address like https://studio.example, without a path")
        return f"{parts.scheme}://{parts.netloc.lower()}"

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not re.fullmatch(r"[A-Za-z0-9.-]+|[0-9a-fA-F:]+", host):
                raise ValueError(f"{host!r} is no name or address; leave scheme and port out")
        return tuple(host.lower() for host in hosts)

    @property
    def hosts(self) -> frozenset[str]:
        """Names and addresses that answer; empty: any does."""
        public = () if self.public_url is None else (str(urlsplit(self.public_url).hostname),)
        return frozenset((*self.allowed_hosts, *public))

    @property
    def address(self) -> str:
        """The address to print: the public one, or this machine's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.public_url or f'http://{host}:{self.port}'}/"

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            ip_network(proxy, strict=False)  # raises ValueError, which names the field
        return proxies


class PublicDetectorConfig(_Frozen):
    """The detector that anybody may use without an account; see docs/public-detector.md."""

    enabled: bool = False
    """Serve ``/detect`` and ``POST /api/public/detect``."""
    provider: str | None = Field(default=None, max_length=120)
    """Name of the operator of this studio, shown to the public."""
    contact: str | None = Field(default=None, pattern=r"^(https?://|mailto:)\S+$", max_length=300)
    """Where people complain about an answer: an https or mailto address."""
    max_bytes: int = Field(default=125_829_120, gt=0)
    """Of one file: 120 MiB, ten minutes of 16-bit stereo at 48 kHz."""
    max_duration_s: float = Field(default=600.0, gt=0)
    requests_per_minute: int = Field(default=6, ge=1)
    """Questions of one address (IPv6: one /64 network)."""
    near_identical_per_hour: int = Field(default=20, ge=1)
    """Questions about nearly the same sound, from whatever addresses."""
    waiting: int = Field(default=12, ge=0)
    """Questions in line behind the one that is examined; others are told when to come back."""
    per_address: int = Field(default=2, ge=1)
    """Questions of one address that are uploaded, in line or examined at a time."""
    upload_s: float = Field(default=120.0, gt=0)
    """A file has to be here by then."""
    examination_s: float = Field(default=120.0, gt=0)
    """Wall-clock time of one examination."""


class SharingConfig(_Frozen):
    """Links by which an owner shows an output to whoever holds them; see docs/sharing.md."""

    enabled: bool = True
    """Serve ``/share/…``; without it no link opens."""
    requests_per_minute: int = Field(default=120, ge=1)
    """Of one address (IPv6: one /64 network), to all links together."""


class AccountsConfig(_Frozen):
    """How long a login lasts, and how much one account may ask of the REST layer."""

    session_hours: float = Field(default=12.0, gt=0, le=168)
    """A browser session ends after so long, used or not."""
    idle_minutes: float = Field(default=120.0, gt=0)
    """A browser session ends when nobody used it for so long."""
    token_days: float = Field(default=30.0, gt=0, le=366)
    """A token for the REST layer or the command line ends after so long."""
    requests_per_minute: int = Field(default=120, ge=1)
    """Of one account (one address where nobody is signed in) to the REST layer."""
    page_events_per_minute: int = Field(default=300, ge=1)
    """Events and uploads of one account to the page."""
    jobs_at_a_time: int = Field(default=4, ge=1)
    """Requests for music that one account may have running or in line, page and REST together."""
    checks_at_a_time: int = Field(default=4, ge=1)
    """Examinations that one account may have running or in line, page and REST together."""


class DatabaseConfig(_Frozen):
    """Where ledger, consent and accounts stand; ``$STUDIO_DATABASE_URL`` goes before it."""

    url: str | None = (
        None  # postgresql://user@host/name; null: the SQLite file ledger.db in the home
    )


class LedgerConfig(_Frozen):
    """Checkpoints of the ledger: what they are signed as, how often, and where they are kept."""

    origin: str | None = Field(default=None, pattern=r"^[^\s+]+$")
    """Name of the ledger in its checkpoints, settled with the first signing key; none: random."""
    checkpoint_every_entries: int = Field(default=100, ge=1)
    checkpoint_every_minutes: float = Field(default=10.0, gt=0)
    """At the latest so long after an entry was appended."""
    second_folder: str | None = "auto"
    """Where every checkpoint is also written: best on another machine, in another hand. ``auto``:
    beside the home, in a folder named like it with ``-checkpoints`` behind; none: nowhere."""
    timestamp_authority: str | None = Field(default=None, pattern=r"^https?://")
    """RFC 3161 service asked for every checkpoint; none: no outside request is ever made."""


class ConsentConfig(_Frozen):
    """How rights holders address this studio."""

    studio: str | None = Field(default=None, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)
    """A name that counts in a signed document's `audience` beside the site id; none: only the id.
    ``local-studio``, which every studio once was called, is no name."""


class QuotaConfig(_Frozen):
    """How much one account may have made; without accounts the whole studio is one."""

    outputs_per_day: int = Field(default=300, ge=1)
    """Per UTC day."""
    seconds_per_day: float = Field(default=5400.0, gt=0)
    """Seconds of music per UTC day."""
    bulk_requests: int = Field(default=60, ge=1)
    """Requests within `bulk_window_minutes`; more are generation in bulk."""
    bulk_window_minutes: float = Field(default=10.0, gt=0, le=1440)
    near_duplicates_per_day: int = Field(default=20, ge=1)
    """Outputs of an account that are nearly an earlier output, per UTC day."""
    near_duplicate_distance: float = Field(default=0.2, gt=0, le=0.35)
    """Fingerprint bit error rate up to which an output is nearly another."""


class WebhookConfig(_Frozen):
    """Which machines verdicts may be sent to (`studio watch --webhook`)."""

    hosts: tuple[str, ...] = ()
    """Names, ``name:port``, addresses and networks; see :mod:`studio.core.outbound.hosts`."""

    @field_validator("hosts")
    @classmethod
    def _readable(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        AllowedHosts.parse(hosts)
        return hosts

    @property
    def allowed(self) -> AllowedHosts:
        """The allow list."""
        return AllowedHosts.parse(self.hosts)


class SecurityLogConfig(_Frozen):
    """How much the log of security events keeps; the oldest events go first."""

    keep_events: int = Field(default=100_000, ge=1)
    """Of each of its two chains."""
    keep_days: float = Field(default=400.0, gt=0)


class StudioConfig(BaseSettings):
    """All settings: what the environment says, then ``studio.yaml``, then the defaults above."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        env_prefix="STUDIO_",
        env_nested_delimiter="__",
    )

    generation: GenerationConfig = GenerationConfig()
    seal: SealConfig = SealConfig()
    verify: VerifyConfig = VerifyConfig()
    consent: ConsentConfig = ConsentConfig()
    uploads: UploadConfig = UploadConfig()
    credentials: CredentialsConfig = CredentialsConfig()
    server: ServerConfig = ServerConfig()
    public_detector: PublicDetectorConfig = PublicDetectorConfig()
    sharing: SharingConfig = SharingConfig()
    accounts: AccountsConfig = AccountsConfig()
    database: DatabaseConfig = DatabaseConfig()
    quotas: QuotaConfig = QuotaConfig()
    security_log: SecurityLogConfig = SecurityLogConfig()
    webhooks: WebhookConfig = WebhookConfig()
    ledger: LedgerConfig = LedgerConfig()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment goes before the file, whose content is what the class is called with."""
        return env_settings, init_settings


def load_config(path: Path) -> StudioConfig:
    """Read and check ``studio.yaml``, with the environment before it.

    Raises :class:`ConfigError` naming the field at fault.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ConfigError(f"{path}: must hold sections, as the shipped studio.yaml does")
        return StudioConfig(**data)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise ConfigError(f"cannot read {path}: {exc}") from exc
    except SettingsError as exc:
        raise ConfigError(f"environment: {exc}") from exc
    except ValidationError as exc:
        faults = "; ".join(
            f"{'.'.join(map(str, error['loc'])) or 'file'}: {error['msg']}"
            for error in exc.errors()
        )
        raise ConfigError(f"{path} or the environment (STUDIO_SECTION__FIELD): {faults}") from exc
