"""The Compose file with a real engine: a site is built, broken, upgraded, scaled and taken down."""
