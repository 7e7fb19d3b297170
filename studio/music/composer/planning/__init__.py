"""The plan of a piece before its notes: style, key, tempo, form, chords."""
