"""Which extra of the package brings a library that is not installed.

>>> print(install_hint(ModuleNotFoundError("No module named 'gradio'", name="gradio")))
this needs gradio, which is not installed: pip install 'consented-music-studio[server]'
"""

from __future__ import annotations

__all__ = ["EXTRAS", "install_hint"]

EXTRAS = {
    "generation": (
        "einops",
        "flashy",
        "huggingface_hub",
        "julius",
        "num2words",
        "omegaconf",
        "sentencepiece",
        "transformers",
    ),
    "server": (
        "fastapi",
        "gradio",
        "h11",
        "prometheus_client",
        "python_multipart",
        "starlette",
        "uvicorn",
    ),
    "mcp": ("mcp",),
    "receipts": ("matplotlib", "reportlab", "segno"),
    "house": ("fluidsynth",),
    "ray": ("pyarrow", "ray"),
}
"""The extras, and the modules that each of them brings."""


def install_hint(error: ModuleNotFoundError) -> str | None:
    """What to install, where an extra brings the missing module; None for any other module."""
    name = (error.name or "").partition(".")[0]
    for extra, modules in EXTRAS.items():
        if name in modules:
            return (
                f"this needs {name}, which is not installed: "
                f"pip install 'consented-music-studio[{extra}]'"
            )
    return None
