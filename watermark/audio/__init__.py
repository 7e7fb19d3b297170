"""Audio files in and out: decode, encode, sandbox, resample."""
