"""The HTTP protocol: time limits, strict JSON, uploads, visitors, download tokens."""
