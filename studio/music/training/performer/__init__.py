"""Train and export the language model that performs scores."""
