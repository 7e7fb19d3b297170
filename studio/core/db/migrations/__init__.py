"""Schema migrations, run by :class:`studio.core.db.database.Database` when it opens a file."""
