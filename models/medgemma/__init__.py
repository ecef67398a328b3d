"""The explainer by a language model: one prompt and one schema, asked in this process or of a server."""
