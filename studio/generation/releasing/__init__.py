"""From finished music to a released file: watermark, manifest, signature, atomic release."""
