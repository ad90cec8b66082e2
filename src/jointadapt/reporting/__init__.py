"""Numbers → figures and pages: the report of a run, and what every page shares."""
