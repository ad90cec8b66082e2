"""Files, progress, signals, random state: what a long-running program needs, whatever it computes."""
