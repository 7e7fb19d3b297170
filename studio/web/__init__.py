"""The HTTP server: page, REST API, MCP, public detector."""
