"""ASGI middleware: who is calling, limits, security headers, proxy headers."""
