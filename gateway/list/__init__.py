"""The reading list: its routes and events, its page, and the viewer beside it."""
