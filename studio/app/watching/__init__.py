"""Watching a folder: files that arrive are examined once, and others are told."""
