"""The house model: a catalogue composed and rendered here, and a model trained on nothing else."""
