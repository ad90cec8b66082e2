"""What can be said of two domains, or of a run, without target labels."""
