"""Find a watermark in audio, and say how sure that is."""
