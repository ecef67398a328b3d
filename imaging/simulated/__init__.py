"""Simulated chest radiographs, and the sample studies made of them."""
