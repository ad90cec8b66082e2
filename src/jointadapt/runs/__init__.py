"""The run folder: what it holds, how each file is written whole, and the one place where it is read again."""
