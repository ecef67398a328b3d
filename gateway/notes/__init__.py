"""A clinical note, read by rules, alone or beside a study of the list."""
