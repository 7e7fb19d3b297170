"""Watch a folder: verify each new file once and notify other systems."""
