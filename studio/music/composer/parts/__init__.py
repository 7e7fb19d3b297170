"""The players of a piece: melody, bass, accompaniment, drums, section by section."""
