"""What is made from a released output: variations, extensions, stems, scores."""
