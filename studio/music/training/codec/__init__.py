"""Train the house codec."""
