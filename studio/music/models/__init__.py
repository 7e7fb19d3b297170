"""Generation models: what a model is, and the house model and hub models that are ones."""
