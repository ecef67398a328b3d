"""A single file, uploaded and judged."""
