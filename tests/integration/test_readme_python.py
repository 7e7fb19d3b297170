"""The Python of the README runs as printed, with the shipped weights."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.studios import music
from watermark.audio.waveform import write

README = Path(__file__).parents[2] / "README.md"


def test_the_python_of_the_readme_seals_and_names(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    monkeypatch.chdir(tmp_path)
    write("song.wav", music(3, 12.0))
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # it is our own README
    found = names["found"]
    assert found.detected
    assert found.identification.seal_id == names["seal_id"]
    assert "Identification(" in capsys.readouterr().out
