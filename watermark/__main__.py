"""The ``watermark`` command, also as ``python -m watermark``."""

from watermark.util.start import start

__all__ = ["main"]


def main() -> None:
    """Console entry point."""
    start("watermark.cli.main", prog_name="watermark")


if __name__ == "__main__":
    main()
