"""Reports of an examination: page, JSON, timeline, and their texts."""
