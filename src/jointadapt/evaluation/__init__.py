"""Predictions and what they are worth: the only package that is handed target labels."""
