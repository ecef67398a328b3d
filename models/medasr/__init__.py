"""Speech to text by google/medasr."""
