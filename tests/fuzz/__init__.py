"""Inputs that nobody foresaw: valid ones, mutated by a seed, into every place that takes what others wrote."""
