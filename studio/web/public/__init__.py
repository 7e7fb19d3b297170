"""The public detector, without an account: page, API and limits."""
