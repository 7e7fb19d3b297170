"""Storage: the tables, their migrations, and durable transactions over SQLite."""
