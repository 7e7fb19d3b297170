"""The report on a case: a page, a PDF and JSON, in one archive that this studio signs."""
