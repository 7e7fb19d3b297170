"""Commands that make music, or release what an output was made from."""
