"""The detector that anybody may use without an account: page, API, and what bounds both."""
