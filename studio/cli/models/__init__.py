"""Commands that measure, train and evaluate generation models."""
