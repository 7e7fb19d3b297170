"""The REST API, and routes for downloads and health."""
