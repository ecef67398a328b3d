"""Workitems by UPS-RS (PS3.18 section 11)."""
