"""Training of the embedded chest-radiograph network: `python -m models.training --help`."""
