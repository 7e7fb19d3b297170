"""Content Credentials: signing what is handed out, reading what comes in (C2PA).

What a manifest says is written down in ``docs/content-credentials.md``. Nothing is imported here:
:mod:`.reading` runs in a child process that has to start at once.
"""
