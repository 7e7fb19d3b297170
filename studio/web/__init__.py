"""Everything served over HTTP: page, REST API, MCP, public detector."""
