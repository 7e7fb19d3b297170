"""A catalogue of real lengths: making it, scanning it with kills, and what a million files take."""
