"""A small neural codec, made to be an attack of the seal's bench: network, training, export."""
