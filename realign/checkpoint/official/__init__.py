"""Readers of published files, one publication a module."""
