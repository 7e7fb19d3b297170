"""Measure the watermark: clips, distortions, attacks, reports."""
