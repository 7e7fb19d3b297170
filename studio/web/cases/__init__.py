"""Cases over HTTP: REST routes, and pages without scripts at ``/cases``."""
