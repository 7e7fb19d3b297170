"""Schema migrations, run by :class:`studio.store.database.Database` when it opens a file."""
