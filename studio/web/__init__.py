"""Everything served over HTTP: the page, the REST interface, and what guards them."""
