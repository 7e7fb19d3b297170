"""The report on a case: page, PDF and JSON in one signed archive."""
