"""Put a watermark into audio, in memory or from file to file."""
