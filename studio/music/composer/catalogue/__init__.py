"""The composer of the house catalogue: four tags and a seed to a whole piece."""
