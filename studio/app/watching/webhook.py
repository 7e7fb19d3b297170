"""Webhooks: signed messages about verdicts, sent again until they arrive.

Messages follow Standard Webhooks 1.0 (https://www.standardwebhooks.com): the headers
``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, the last being ``v1,`` with an
HMAC-SHA256 over id, time and body.

>>> sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_1", 1614265330, b"{}")
'v1,ZztYR0IIDCBCUcYzh8ZE+qsQWpIgtHU7R1hpe8htaD4='
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import logging
import random
import secrets
import sqlite3
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studio.app.watching.store import Message
from studio.core.errors import ConfigError, HostRefusedError, HostUnreachableError
from studio.core.outbound.exchange import exchange
from studio.core.outbound.hosts import AllowedHosts, Resolver, Target
from watermark.util.files import create_file

if TYPE_CHECKING:
    from studio.app.watching.store import WatchStore

__all__ = ["Sender", "Webhook", "message", "own_secret", "secret_key", "sign"]

_log = logging.getLogger(__name__)

_PREFIX = "whsec_"
_TIMEOUT_S = 15.0  # of one try
_PAUSES_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0)  # before the next try
_MOST_PAUSE_S = 60.0  # of all messages, after failures
_MOST_RETRY_AFTER_S = 3600.0
_KEPT_S = 3 * 86400.0  # an undelivered message is given up after so long
_MOST_BODY = 256 << 10  # bytes
_LONG = ("lineage", "misses", "message_logits", "segments", "c2pa", "other_marks")
_IDLE_S = 0.5


def own_secret(path: Path) -> tuple[str, bool]:
    """The secret that messages are signed with, and whether it was made now.

    Raises :class:`ConfigError` where it is no secret or cannot be read.
    """
    made = _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()
    try:
        new = create_file(path, f"{made}\n".encode())
        text = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"the web hook's secret {path} cannot be read: {exc}") from exc
    try:
        secret_key(text)
    except ValueError as exc:
        raise ConfigError(f"the web hook's secret {path}: {exc}") from exc
    return text, new


def secret_key(secret: str) -> bytes:
    """The key in a secret. Raises :class:`ValueError`: it is none."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64") from exc
    if not secret.startswith(_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a secret is whsec_ and 24 to 64 bytes in base64")
    return key


def sign(secret: str, id_: str, timestamp: int, body: bytes) -> str:
    """The ``webhook-signature`` of a message."""
    signed = f"{id_}.{timestamp}.".encode() + body
    digest = hmac.new(secret_key(secret), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


def message(kind: str, data: Mapping[str, Any]) -> tuple[str, bytes]:
    """Id and body of a message: ``type``, ``timestamp``, ``data``.

    A verdict of more than 256 KiB loses its long parts, and says so (``shortened``).
    """
    at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = _body({"type": kind, "timestamp": at, "data": dict(data)})
    if len(body) > _MOST_BODY:
        short = {key: value for key, value in data.items() if key not in _LONG}
        matches = short.get("matches")
        if isinstance(matches, list):
            short["matches"] = matches[:100]
        body = _body({"type": kind, "timestamp": at, "data": {**short, "shortened": True}})
    return f"msg_{secrets.token_hex(16)}", body


def _body(content: Mapping[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=True, sort_keys=True).encode()


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address that messages go to, and the key that signs them."""

    target: Target
    allowed: AllowedHosts
    secret: str
    resolver: Resolver | None = None  # in tests
    context: ssl.SSLContext | None = None  # in tests


class Sender:
    """Sends what waits in a store, in a thread of its own, until it is closed.

    Args:
        hook: where to.
        store: what waits; whoever examines never waits for the sender.
        say: told in words what people should know, at most once for each kind of trouble.
        pauses_s: before the next try of one message.
    """

    def __init__(
        self,
        hook: Webhook,
        store: WatchStore,
        say: Callable[[str], None],
        *,
        pauses_s: tuple[float, ...] = _PAUSES_S,
    ) -> None:
        self._hook = hook
        self._store = store
        self._say = say
        self._pauses_s = pauses_s
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._in_trouble = False
        self.sent = 0
        self._thread = threading.Thread(target=self._run, name="web hook", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Something new waits."""
        self._wake.set()

    def flush(self, within_s: float) -> int:
        """Wait until nothing is due any more, or a try fails; how many still wait.

        Args:
            within_s: longest time to wait.
        """
        end = time.monotonic() + within_s
        with closing(self._store.connect()) as database:
            while time.monotonic() < end and self._thread.is_alive() and not self._in_trouble:
                query = "SELECT COUNT(*) FROM message WHERE due <= ?"
                if not database.execute(query, (time.time(),)).fetchone()[0]:
                    break
                self._wake.set()
                time.sleep(0.05)
            return int(database.execute("SELECT COUNT(*) FROM message").fetchone()[0])

    def close(self) -> None:
        """Stop; what waits goes out the next time."""
        self._stop.set()
        self._wake.set()
        self._thread.join(5.0)

    def _run(self) -> None:
        try:
            with closing(self._store.connect()) as database:
                self._send_all(database)
        except Exception:  # noqa: BLE001 - the examinations go on; people are told that nothing is sent
            _log.exception("the web hook stopped")
            self._say("the web hook stopped by a fault of the studio; messages are kept")

    def _send_all(self, database: sqlite3.Connection) -> None:
        failures = 0
        while not self._stop.is_set():
            waiting = self._next(database)
            if waiting is None:
                self._wake.wait(_IDLE_S)
                self._wake.clear()
                continue
            pause, why = self._try(waiting)
            if self._stop.is_set() and why is not None:
                return  # it was cut off, and says nothing of the other machine
            if why is None:
                database.execute("DELETE FROM message WHERE number = ?", (waiting.number,))
                self.sent += 1
                if failures:
                    self._say("the web hook answers again")
                failures, self._in_trouble = 0, False
                continue
            if pause is None:  # it will never be accepted there
                self._say(f"the web hook is switched off until the next start: {why}")
                return
            failures += 1
            self._postpone(database, waiting, pause)
            if not self._in_trouble:
                self._in_trouble = True
                self._say(f"the web hook fails ({why}); it is tried again")
            rest = self._pauses_s[min(failures, len(self._pauses_s)) - 1]
            self._stop.wait(max(pause, min(rest, _MOST_PAUSE_S)))

    @staticmethod
    def _next(database: sqlite3.Connection) -> Message | None:
        row = database.execute(
            "SELECT number, id, body, made, tries FROM message WHERE due <= ? "
            "ORDER BY tries, number LIMIT 1",
            (time.time(),),
        ).fetchone()
        return None if row is None else Message(*row)

    def _try(self, waiting: Message) -> tuple[float | None, str | None]:
        """Send one: how long all wait then (None: for ever); why it failed (None: it did not)."""
        hook, now = self._hook, int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": waiting.id,
            "webhook-timestamp": str(now),
            "webhook-signature": sign(hook.secret, waiting.id, now, waiting.body),
        }
        try:
            with exchange(
                "POST",
                hook.target,
                hook.allowed,
                headers=headers,
                body=waiting.body,
                deadline_s=_TIMEOUT_S,
                stop=self._stop,
                resolver=hook.resolver,
                context=hook.context,
            ) as answer:
                code, after = answer.status, answer.headers.get("retry-after", "")
        except (HostRefusedError, HostUnreachableError) as exc:
            return 0.0, str(exc)  # also a name that leads to a private address for a while
        if 200 <= code < 300:
            return 0.0, None
        if code == 410:
            return None, "the other machine wants no more messages (410)"
        wait = float(after) if after.isascii() and after.isdigit() and len(after) < 9 else 0.0
        return min(wait, _MOST_RETRY_AFTER_S), f"it answers {code}"

    def _postpone(self, database: sqlite3.Connection, waiting: Message, pause: float) -> None:
        if time.time() - waiting.made > _KEPT_S:
            database.execute("DELETE FROM message WHERE number = ?", (waiting.number,))
            self._say(f"a message was given up after three days: {waiting.id}")
            return
        rest = self._pauses_s[min(waiting.tries, len(self._pauses_s) - 1)]
        due = time.time() + max(pause, rest * random.uniform(0.9, 1.1))
        database.execute(
            "UPDATE message SET tries = tries + 1, due = ? WHERE number = ?",
            (due, waiting.number),
        )
