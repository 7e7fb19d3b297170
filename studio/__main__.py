"""The ``studio`` command, also as ``python -m studio``."""

from watermark.util.start import start

__all__ = ["main"]


def main() -> None:
    """Console entry point."""
    start("studio.cli.main")


if __name__ == "__main__":
    main()
