"""The import layer lets audiocraft in, and stays out of the way of everything real."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from studio.core.errors import AudiocraftMissingError
from studio.music.models.hub.audiocraft_compat import INERT, load_audiocraft

pytestmark = pytest.mark.slow


def run_python(code: str, *path: Path) -> str:
    """Run ``code`` in a fresh interpreter, warnings as errors, ``path`` before all packages."""
    preamble = f"import sys; sys.path[:0] = {[str(entry) for entry in path]!r}\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", preamble + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_audiocraft_loads_without_warnings_and_leaves_only_xformers_behind():
    out = run_python(
        """
        import importlib.util
        from studio.music.models.hub.audiocraft_compat import INERT, load_audiocraft
        audiocraft = load_audiocraft()
        assert load_audiocraft() is audiocraft
        assert not [f for f in sys.meta_path if type(f).__name__ == '_InertFinder']
        from audiocraft.models import MusicGen
        import torch, xformers.ops
        from xformers import ops
        assert ops.unbind is torch.unbind
        from audiocraft.modules.transformer import _is_profiled, _efficient_attention_backend
        assert not _is_profiled() and _efficient_attention_backend == "torch"
        left = sorted(name for name in INERT if name in sys.modules)
        for name in ("torchaudio", "librosa", "spacy"):
            assert importlib.util.find_spec(name) is None
        print(left)
        """
    )
    assert out.strip() == "['xformers', 'xformers.ops']"


def test_real_packages_win(tmp_path):
    for name in ("torchaudio", "librosa", "spacy"):
        (tmp_path / f"{name}.py").write_text("REAL = True\nfilters = object()\n")
    (tmp_path / "xformers").mkdir()
    (tmp_path / "xformers" / "__init__.py").write_text("REAL = True\n")
    (tmp_path / "xformers" / "ops.py").write_text("REAL = True\nfrom torch import unbind\n")
    run_python(
        """
        from studio.music.models.hub.audiocraft_compat import load_audiocraft
        load_audiocraft()
        from audiocraft.modules import chroma, conditioners, transformer
        librosa = sys.modules["librosa"]
        for module in (chroma.torchaudio, librosa, conditioners.spacy, transformer.ops):
            assert module.REAL, module
        """,
        tmp_path,
    )


def test_a_real_package_without_a_submodule_is_not_patched_up(tmp_path):
    """Only what is absent altogether is stood in for; a broken xformers is reported as such."""
    (tmp_path / "xformers").mkdir()
    (tmp_path / "xformers" / "__init__.py").write_text("")
    out = run_python(
        """
        from studio.music.models.hub.audiocraft_compat import load_audiocraft
        from studio.core.errors import AudiocraftMissingError
        try:
            load_audiocraft()
        except AudiocraftMissingError as exc:
            print(exc)
        """,
        tmp_path,
    )
    assert "cannot be imported" in out
    assert "ops" in out


def test_missing_audiocraft_says_what_to_run():
    out = run_python(
        """
        from importlib.machinery import PathFinder
        find_spec = PathFinder.find_spec
        PathFinder.find_spec = classmethod(
            lambda cls, name, *args: None if name == "audiocraft" else find_spec(name, *args)
        )
        from studio.music.models.hub.audiocraft_compat import load_audiocraft
        from studio.core.errors import AudiocraftMissingError
        try:
            load_audiocraft()
        except AudiocraftMissingError as exc:
            print(exc)
        """
    )
    assert "make setup" in out
    assert "pip install --no-deps audiocraft==1.3.0" in out


def test_importing_the_layer_is_free():
    out = run_python(
        "import studio.music.models.hub.audiocraft_compat\n"
        "print([name for name in ('torch', 'audiocraft', 'transformers') if name in sys.modules])"
    )
    assert out.strip() == "[]"


def test_every_inert_name_stands_in_the_installed_audiocraft():
    """A name that audiocraft no longer asks for must leave the table (and the reader's mind)."""
    audiocraft = load_audiocraft()
    root = Path(audiocraft.__file__).parent
    source = "".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    assert audiocraft.__version__ == "1.3.0"
    for module, attributes in INERT.items():
        assert module.rpartition(".")[2] in source
        for attribute in attributes:
            assert attribute in source, (module, attribute)


def test_what_is_stood_in_for_cannot_be_used_by_accident():
    load_audiocraft()
    from audiocraft.modules import conditioners

    if hasattr(conditioners.spacy, "__version__"):
        assert callable(conditioners.spacy.load)
        return
    with pytest.raises(AttributeError, match="spacy is not installed"):
        _ = conditioners.spacy.load
    assert issubclass(AudiocraftMissingError, Exception)
