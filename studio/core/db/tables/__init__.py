"""The tables as SQLAlchemy describes them, one module per subject."""
