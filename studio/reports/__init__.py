"""Documents for people and platforms, made from records and verdicts."""
