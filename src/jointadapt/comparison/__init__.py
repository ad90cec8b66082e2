"""Tasks × methods × seeds, each run once → one table in several forms."""
