"""Small helpers without audio: files written whole or not at all."""
