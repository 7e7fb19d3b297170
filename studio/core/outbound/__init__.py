"""Requests to other machines: to allowed hosts only, at an address that was checked."""
