"""What a reader says or types: speech as it is handed over, commands, and questions about a study."""
