"""Prepared motion sets: making, opening and batching them."""
