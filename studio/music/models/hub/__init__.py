"""Models from a hub through audiocraft."""
