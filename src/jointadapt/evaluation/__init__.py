"""Predictions, their accuracy and their calibration: the only package that is handed target labels."""
