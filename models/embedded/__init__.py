"""The embedded scorer and its weights."""
