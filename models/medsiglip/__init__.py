"""MedSigLIP, zero-shot: a film against pairs of sentences."""
