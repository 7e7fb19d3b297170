"""Generation models: the house model and hub models."""
