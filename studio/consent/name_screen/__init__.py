"""Find artists' names in typed texts."""
