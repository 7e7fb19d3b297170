"""How music is written down here: notes, scores, harmony, lead sheets, MIDI."""
