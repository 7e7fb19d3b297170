"""The log as the commands set it up."""

from __future__ import annotations

import json
import logging

import pytest
from click.testing import CliRunner

from watermark.cli.main import main
from watermark.util.logs import logging_to_stderr


@main.command("say-something", hidden=True)
def say_something() -> None:
    """A command of these tests."""
    logging.getLogger("watermark.test").info("step")
    logging.getLogger("watermark.test").warning("look")
    logging.getLogger("other").info("their step")


@pytest.fixture(scope="module", autouse=True)
def _only_here():
    yield
    del main.commands["say-something"]


@pytest.mark.parametrize(
    ("words", "form", "told"),
    [
        ((), None, ["look"]),
        (("--verbose",), None, ["step", "look"]),
        ((), "text", ["step", "look"]),
        ((), "json", ["step", "look"]),
    ],
)
def test_what_a_command_tells(words, form, told):
    done = CliRunner().invoke(main, [*words, "say-something"], env={"STUDIO_LOG": form})
    lines = done.stderr.splitlines()
    if form == "json":
        assert [json.loads(line)["message"] for line in lines] == told
        assert {json.loads(line)["logger"] for line in lines} == {"watermark.test"}
    else:
        assert [line.split(": ")[-1] for line in lines] == told
    assert done.stdout == ""
    assert not logging.getLogger("watermark").isEnabledFor(logging.INFO)  # it has ended


def test_an_unknown_form_is_wrong_usage():
    done = CliRunner().invoke(main, ["say-something"], env={"STUDIO_LOG": "xml"})
    assert done.exit_code == 2
    assert "STUDIO_LOG" in done.stderr


def test_a_stderr_that_is_closed_stops_no_work(monkeypatch, tmp_path):
    with (tmp_path / "gone").open("w") as closed:
        pass
    monkeypatch.setattr("sys.stderr", closed)
    with logging_to_stderr(verbose=True, environ={}):
        logging.getLogger("watermark.test").warning("nobody hears this")


def test_an_exception_is_told_with_its_traceback(capsys):
    with logging_to_stderr(environ={"STUDIO_LOG": "json"}):
        try:
            raise RuntimeError("a fault")
        except RuntimeError:
            logging.getLogger("watermark.test").exception("failed")
    body = json.loads(capsys.readouterr().err)
    assert body["message"] == "failed"
    assert "a fault" in body["traceback"]
