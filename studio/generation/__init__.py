"""From a request to a released output: the pipeline and what it calls."""
