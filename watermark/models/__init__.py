"""Watermark models, their weights and their calibration."""
