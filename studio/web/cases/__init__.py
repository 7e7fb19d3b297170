"""Cases over HTTP: routes of the REST layer, and pages without scripts at ``/cases``."""
