"""Making the house model: rendering, training, evaluation. Nothing here runs in a studio."""
