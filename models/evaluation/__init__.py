"""How well predictions agree with labels: the files, the arithmetic and the pictures."""
