"""Readers of published files, one publication per module."""
