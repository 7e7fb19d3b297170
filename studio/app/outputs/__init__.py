"""Released outputs as the use cases see them: look-up, library, waveform outline."""
