"""The house model: everything that runs when it makes music."""
