"""The page that simulates a reading room under the shipped order and under others."""
