"""Messages of a web hook: signed, sent until they arrive, and never in anybody's way."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from contextlib import contextmanager

import pytest

from studio.app.watching import store as store_module
from studio.app.watching.arrivals import Arrival
from studio.app.watching.store import WatchStore
from studio.app.watching.webhook import Sender, Webhook, message, own_secret, secret_key, sign
from studio.core.errors import ConfigError
from studio.core.outbound.hosts import AllowedHosts
from tests.support.hosts import host, status

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
PAUSES = (0.05, 0.1)


@pytest.fixture
def inbox(tmp_path):
    found = tmp_path / "inbox"
    found.mkdir()
    return found


@pytest.fixture
def store(inbox, tmp_path):
    with WatchStore(tmp_path / "stores", inbox) as opened:
        yield opened


def put(store, number, data=None):
    told = message("verification.completed", data or {"number": number})
    store.done(Arrival(f"{number}", 1, 1, 1, number), None, {}, told)
    return told


@contextmanager
def sending(machine, store, *, resolver=None, url=None, hosts=(), context=None):
    allowed = AllowedHosts.parse([f"127.0.0.1:{machine.port}", *hosts])
    target = allowed.target(url or f"http://127.0.0.1:{machine.port}/hook")
    said = []
    hook = Webhook(target, allowed, SECRET, resolver, context)
    sender = Sender(hook, store, said.append, pauses_s=PAUSES)
    sender.said = said
    try:
        yield sender
    finally:
        sender.close()


def until(question):
    for _ in range(6000):
        if question():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_the_signature_is_that_of_standard_webhooks():
    """The vector that the libraries of the specification are tested with."""
    secret, id_ = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek"
    body = b'{"test": 2432232314}'
    expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert sign(secret, id_, 1614265330, body) == expected
    assert sign(secret, id_, 1614265331, body) != expected
    assert sign(secret, id_, 1614265330, body + b" ") != expected
    assert sign(SECRET, id_, 1614265330, body) != expected


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_!!", "whsec_" + "QUFB", "QUFB" * 8])
def test_what_is_no_secret_is_refused(text, tmp_path):
    with pytest.raises(ValueError, match="24 to 64"):
        secret_key(text)
    (tmp_path / "secret").write_text(text)
    with pytest.raises(ConfigError, match="24 to 64"):
        own_secret(tmp_path / "secret")


def test_a_secret_is_made_once_for_its_owner_alone(tmp_path):
    first, new = own_secret(tmp_path / "secret")
    assert new
    assert len(secret_key(first)) == 32
    assert own_secret(tmp_path / "secret") == (first, False)
    assert not (tmp_path / "secret").stat().st_mode & 0o077


def test_a_message_arrives_signed(store):
    told = put(store, 1, {"verdict": "sealed", "path": "ü.wav"})
    with host(status(204)) as machine, sending(machine, store) as sender:
        assert sender.flush(600) == 0
        (asked,) = machine.asked
        assert sender.sent == 1
    assert (asked.method, asked.path) == ("POST", "/hook")
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["webhook-id"] == told[0]
    at = asked.headers["webhook-timestamp"]
    assert at.isdigit()
    signed = f"{told[0]}.{at}.".encode() + asked.body
    mac = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
    assert asked.headers["webhook-signature"] == f"v1,{mac}"
    body = json.loads(asked.body)
    assert body["type"] == "verification.completed"
    assert body["data"] == {"verdict": "sealed", "path": "ü.wav"}


def test_what_fails_is_sent_again_with_the_same_id(store):
    answers = [status(500), status(302, location="http://127.0.0.1:1/"), status(429), status(200)]

    def answer(handler, asked):
        answers[len(machine.asked) - 1](handler, asked)

    put(store, 1)
    with host(answer) as machine, sending(machine, store) as sender:
        until(lambda: sender.sent == 1)
        assert len(machine.asked) == 4
        assert len({asked.headers["webhook-id"] for asked in machine.asked}) == 1
        assert sender.said == [
            "the web hook fails (it answers 500); it is tried again",
            "the web hook answers again",
        ]


def test_one_message_that_is_never_accepted_does_not_stop_the_others(store):
    def answer(handler, asked):
        poison = json.loads(asked.body)["data"]["number"] == 1
        status(400 if poison else 200)(handler, asked)

    for number in (1, 2, 3):
        put(store, number)
    with host(answer) as machine, sending(machine, store) as sender:
        until(lambda: sender.sent == 2)
    numbers = [json.loads(asked.body)["data"]["number"] for asked in machine.asked]
    assert set(numbers) == {1, 2, 3}


def test_the_outbox_survives_a_restart(inbox, tmp_path):
    with WatchStore(tmp_path / "stores", inbox) as store:
        told = put(store, 1)
        with host(status(500)) as machine, sending(machine, store) as sender:
            until(lambda: machine.asked)
            assert sender.flush(0.2) == 1
    with (
        WatchStore(tmp_path / "stores", inbox) as store,
        host(status(200)) as machine,
        sending(machine, store) as sender,
    ):
        until(lambda: sender.sent == 1)
        assert machine.asked[0].headers["webhook-id"] == told[0]
        assert sender.flush(600) == 0


def test_who_wants_no_more_is_left_alone(store):
    put(store, 1)
    put(store, 2)
    with host(status(410)) as machine, sending(machine, store) as sender:
        until(lambda: sender.said)
        assert sender.flush(600) == 2  # at once
    assert len(machine.asked) == 1
    assert "no more messages" in sender.said[0]


def test_a_machine_that_never_answers_does_not_hold_up_the_end(store):
    put(store, 1)
    released = threading.Event()
    with host(lambda _handler, _asked: released.wait(600)) as machine:
        with sending(machine, store) as sender:
            until(lambda: machine.asked)
            put(store, 2)  # whoever examines is not held up either
            assert sender.flush(0.2) == 2
        assert not released.is_set()  # the sender was closed before there was an answer
        sender._thread.join(600)
        assert not sender._thread.is_alive()
        released.set()


def test_a_name_that_leads_to_a_private_address_gets_nothing(store, tmp_path):
    put(store, 1)
    with host(status(200), tls=tmp_path, name="hooks.example") as machine:
        port = machine.port
        for leads_to, arrives in (("127.0.0.2", False), ("127.0.0.1", True)):
            with sending(
                machine,
                store,
                resolver=lambda _name, _port, address=leads_to: [address],
                url=f"https://hooks.example:{port}/hook",
                hosts=[f"hooks.example:{port}"],
                context=machine.context,
            ) as sender:
                until(lambda sender=sender: sender.said or sender.sent)
                assert bool(sender.sent) is arrives
                assert bool(machine.asked) is arrives
                if not arrives:
                    assert "not public" in sender.said[0]


def test_a_long_verdict_is_shortened_and_says_so():
    matches = [{"start_s": float(number), "end_s": 1.0} for number in range(50_000)]
    _, body = message("verification.completed", {"verdict": "excerpt", "matches": matches})
    assert len(body) < 256 << 10
    data = json.loads(body)["data"]
    assert data["shortened"] is True
    assert data["verdict"] == "excerpt"
    assert len(data["matches"]) == 100
    _, short = message("verification.completed", {"matches": matches[:5]})
    assert json.loads(short)["data"] == {"matches": matches[:5]}


def test_no_more_messages_wait_than_may(store, monkeypatch):
    monkeypatch.setattr(store_module, "_MOST_MESSAGES", 3)
    for number in range(5):
        put(store, number)
    database = store.connect()
    bodies = [json.loads(row[0]) for row in database.execute("SELECT body FROM message")]
    database.close()
    assert [body["data"]["number"] for body in bodies] == [2, 3, 4]
