"""The REST API, and routes for downloads and health. The page is in studio.web.ui."""
