"""Measuring generators: protocols, settings, replications, results, tables."""
