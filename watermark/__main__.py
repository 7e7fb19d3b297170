"""``python -m watermark`` is the ``watermark`` command."""

from watermark.cli.main import main

if __name__ == "__main__":
    main(prog_name="watermark")
