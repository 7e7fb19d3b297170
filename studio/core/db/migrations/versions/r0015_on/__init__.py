"""Revisions from 0015 on."""
