"""The settings that may be changed while everything runs: by HTTP, and on the page /settings."""
