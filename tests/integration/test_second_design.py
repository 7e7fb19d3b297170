"""An output of the house model's second design, whose model is gone, stays verifiable for ever.

``tests/golden/house-second-design.tar.gz`` is the home of a studio of the last version that played
it, with one output: its ledger, its keys, its file.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from studio.app.container import open_container
from studio.core.errors import ParentRefusedError
from studio.core.paths import StudioPaths, shipped_configs
from studio.generation.derived.derivation import Wish
from studio.verification.verifier import Verdict
from tests.support.studios import as_owner
from watermark.audio.waveform import encode, read

# audioseal 0.2.0 decorates functions with torch.jit.script when it is imported.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script` is deprecated:DeprecationWarning"
)

GOLDEN = Path(__file__).parents[1] / "golden" / "house-second-design.tar.gz"
OUTPUT = "58d955b4c1077db1"
WEIGHTS = "268fa30ada6d8eb1d09b9ebb05cfe6dd3746bae1715d5e729e664d98cd5a788f"
"""SHA-256 of the second design's weights."""


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    home = tmp_path_factory.mktemp("golden") / "home"
    home.mkdir(mode=0o700)
    with tarfile.open(GOLDEN) as archive:
        archive.extractall(home)  # ours; Debian 12 has no filters yet
    with open_container(paths=StudioPaths(home=home, configs=shipped_configs())) as studio:
        yield studio


def test_its_file_is_recognised_with_its_record(studio):
    file = studio.paths.home / "outputs" / f"{OUTPUT}.mp3"
    report = as_owner(studio).verification.verify(file)
    assert report.verdict is Verdict.SEALED, report.explanation
    assert report.release.output_id == OUTPUT
    assert report.release.model["digest"] == WEIGHTS
    assert "score_sha256" not in report.release.model
    part = as_owner(studio).verification.verify(encode(read(file).slice(1.0, 7.5), "wav"))
    assert part.verdict is Verdict.EXCERPT, part.explanation
    assert part.release.output_id == OUTPUT


def test_its_ledger_is_sound_and_its_disclosure_is_told(studio):
    release = as_owner(studio).outputs.get(OUTPUT)
    assert release.title in str(as_owner(studio).outputs.disclosure(OUTPUT))
    assert as_owner(studio).outputs.proof(OUTPUT)


def test_extending_it_says_why_it_cannot_be(studio):
    with pytest.raises(ParentRefusedError, match=r"extended: .* earlier design .* kept no score"):
        as_owner(studio).generation.extend(OUTPUT, 4)
    for wish in (Wish(keep="notes"), Wish(redo="drums"), Wish(new="instruments")):
        with pytest.raises(ParentRefusedError, match="kept no score; it can be varied as a whole"):
            as_owner(studio).generation.vary(OUTPUT, wish=wish)
    as_owner(studio).generation.check_variation(OUTPUT)  # new music from its tags
