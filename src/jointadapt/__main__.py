"""`python -m jointadapt`: the command line."""

from jointadapt.cli import main

main()
