"""What a reader says or types to the page."""
