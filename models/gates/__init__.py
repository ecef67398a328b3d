"""The gates before any score, and their weights."""
