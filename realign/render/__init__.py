"""Motions as pictures, videos, an interactive player and files; the suffix chooses the format."""
