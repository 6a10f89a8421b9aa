"""Motions as pictures, videos, an interactive player and files, by suffix."""
