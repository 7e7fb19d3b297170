"""Use cases, one class a subject, each method with its permission."""
