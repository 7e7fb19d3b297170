"""Jobs that outlast an HTTP request: queues, generation, verification."""
