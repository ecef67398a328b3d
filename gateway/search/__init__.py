"""Search for studies, in reading order: what QIDO-RS and C-FIND answer alike."""
