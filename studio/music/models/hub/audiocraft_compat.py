"""Imports audiocraft 1.3.0 beside a current torch, without what inference never uses.

audiocraft pins torch 2.1 and imports its training stack wherever it is imported. What inference
really needs is installed beside the studio (``pyproject.toml``); the rest is the five packages of
:data:`INERT`, each with the line of audiocraft that asks for it. While audiocraft is imported, a
finder *appended* to :data:`sys.meta_path` answers for those names: real packages, which earlier
finders find, therefore win. Afterwards the finder goes, and so do the inert modules, except
xformers, which audiocraft imports again at every attention call.

::

    audiocraft = load_audiocraft()
    audiocraft.models.MusicGen            # or: from audiocraft.models import MusicGen

Nothing of audiocraft itself is changed.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType

from studio.core.errors import AudiocraftMissingError
from watermark.util.extras import EXTRAS

__all__ = ["INERT", "INSTALL_HINT", "load_audiocraft", "require_audiocraft"]

INERT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # data/audio_utils.py:13 (loudness) and modules/chroma.py:13 (melody conditioning).
        "torchaudio": (),
        # modules/chroma.py:9, the chroma filter bank of melody conditioning.
        "librosa": ("filters",),
        # modules/conditioners.py:21, the lemmatiser of the white-space tokenizer.
        "spacy": (),
        # modules/transformer.py:23, 48 (xformers.profiler: must stay missing), 239, 374, 728.
        "xformers": ("ops",),
        "xformers.ops": ("LowerTriangularMask", "memory_efficient_attention", "unbind"),
        # models/multibanddiffusion.py:21, which would pull in all of training: see _cut_solvers.
        "audiocraft.solvers": ("compression",),
        "audiocraft.solvers.compression": ("CompressionSolver",),
    }
)
"""Module name -> the attributes audiocraft takes from it at import or in inference."""

INSTALL_HINT = (
    "run `make setup` in a checkout, or beside an installed package "
    "`pip install 'consented-music-studio[generation]'` and then "
    "`pip install --no-deps audiocraft==1.3.0`"
)
_NEEDED = ("audiocraft", *EXTRAS["generation"])

_KEPT = ("xformers", "xformers.ops")
_SOLVERS = ("audiocraft.solvers", "audiocraft.solvers.compression")

_lock = threading.Lock()
_loaded: ModuleType | None = None


def load_audiocraft() -> ModuleType:
    """Import audiocraft once per process (2-6 s) and return it, its subpackages in place.

    After the first call, ``from audiocraft.models import LMModel`` and the like work anywhere.
    Idempotent and thread-safe. Raises :class:`AudiocraftMissingError`, which says what to run.
    """
    global _loaded  # noqa: PLW0603 - an import is process-wide, and so is its memory
    with _lock:
        if _loaded is None:
            _loaded = _import()
        return _loaded


def require_audiocraft() -> None:
    """Look, without importing anything, whether audiocraft and what it needs are installed.

    Raises :class:`AudiocraftMissingError`, which says what to run.
    """
    # find_spec, not a try around the import: what is installed and broken is another fault.
    missing = [
        name
        for name in _NEEDED
        if name not in sys.modules and importlib.util.find_spec(name) is None
    ]
    if missing:
        raise AudiocraftMissingError(
            f"making music needs {', '.join(missing)}, not installed here; {INSTALL_HINT}"
        )


def _import() -> ModuleType:
    require_audiocraft()
    try:
        # Before the finder stands: transformers asks which packages exist and remembers the answer.
        importlib.import_module("flashy")
        transformers = importlib.import_module("transformers")
        for name in ("EncodecModel", "RobertaTokenizer", "T5EncoderModel", "T5Tokenizer"):
            getattr(transformers, name)
        with _inert_modules():
            _cut_solvers()
            audiocraft = importlib.import_module("audiocraft")
            transformer = importlib.import_module("audiocraft.modules.transformer")
    except (ImportError, OSError) as exc:  # OSError: a torchaudio built for another torch
        raise AudiocraftMissingError(
            f"audiocraft is installed but cannot be imported ({exc}); {INSTALL_HINT}"
        ) from exc
    transformer.set_efficient_attention_backend("torch")
    return audiocraft


class _InertFinder:
    """The finder and loader of the inert modules; stateless."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        # A submodule of a real package is the real package's affair.
        real_parent = "." in name and not _is_inert(sys.modules.get(name.partition(".")[0]))
        if name not in INERT or real_parent:
            return None
        return ModuleSpec(name, self, is_package="." not in name)  # type: ignore[arg-type]  # a loader by protocol

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _InertModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: :class:`_InertModule` fills itself."""


class _InertModule(ModuleType):
    """A module that holds the names of :data:`INERT` and nothing else."""

    def __init__(self, name: str) -> None:
        super().__init__(name, f"Stands in for {name}, which inference does not use.")
        for attribute in INERT[name]:
            if f"{name}.{attribute}" not in INERT:  # submodules come through the import system
                setattr(self, attribute, _attribute(name, attribute))

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        raise AttributeError(
            f"{self.__name__}.{attribute}: {self.__name__} is not installed; "
            "what the studio uses of audiocraft does not need it"
        )


def _attribute(module: str, name: str) -> object:
    if (module, name) == ("xformers.ops", "unbind"):
        import torch

        return torch.unbind
    # A bare class: LowerTriangularMask() is only ever compared with None (transformer.py:414).
    return type(name, (), {"__module__": module, "__doc__": f"Stands in for {module}.{name}."})


def _is_inert(module: ModuleType | None) -> bool:
    return isinstance(module, _InertModule)


@contextmanager
def _inert_modules() -> Iterator[None]:
    finder = _InertFinder()
    sys.meta_path.append(finder)
    try:
        yield
        if _is_inert(sys.modules.get("xformers")):
            importlib.import_module("xformers.ops")
    finally:
        sys.meta_path.remove(finder)
        for name in INERT:
            if name not in _KEPT and _is_inert(sys.modules.get(name)):
                del sys.modules[name]


def _cut_solvers() -> None:
    """Keep ``audiocraft.solvers`` from loading where its own needs (torchmetrics) are absent.

    It is a part of audiocraft, so an appended finder is never asked for it: it is put in place
    beforehand, and taken away with the other inert modules, so a later real import stays possible.
    """
    if importlib.util.find_spec("torchmetrics") is None:
        for name in _SOLVERS:
            sys.modules.setdefault(name, _InertModule(name))
