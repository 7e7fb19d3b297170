"""The Create tab: choose tags, generate, listen, download."""
