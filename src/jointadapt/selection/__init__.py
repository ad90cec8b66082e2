"""Choosing without target labels: criteria, the guard against collapse, checkpoints, models."""
