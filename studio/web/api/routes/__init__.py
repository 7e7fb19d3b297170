"""Routes of the REST layer, one module a subject."""
