"""Figures of how good a generated piece is, for any generator, mono or stereo, at any rate."""
