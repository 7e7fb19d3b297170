"""The Consent tab: rights holders, grants and revocations."""
