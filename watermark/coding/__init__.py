"""From a seal id and a key to message bits, and back."""
