"""Examine a suspect file: evidence, verdict, explanation."""
