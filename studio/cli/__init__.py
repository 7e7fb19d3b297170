"""The `studio` command: parse arguments, call the studio, print the answer."""
