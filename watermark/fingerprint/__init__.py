"""Recognise a recording by its content, without a watermark."""
