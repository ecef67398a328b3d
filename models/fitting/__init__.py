"""A hospital's own model: the shipped network with its last layer fitted to the site's films and labels."""
