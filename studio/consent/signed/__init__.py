"""Signed consent documents: write, sign, check and admit them."""
