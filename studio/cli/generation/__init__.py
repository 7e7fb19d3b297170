"""Commands that make music, or hand out what an output was made from."""
