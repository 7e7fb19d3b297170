"""The `watermark` command: parse arguments, call the library, print the answer."""
