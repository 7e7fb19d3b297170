"""Content Credentials (C2PA): sign released files, read suspect files.

What a manifest says is written down in ``docs/content-credentials.md``. Nothing is imported here:
:mod:`.reading` runs in a child process that has to start at once.
"""
