"""The codec of the house model's second design, kept as an attack of the seal's bench."""
