"""`python -m elsewhere`: the command line."""

from elsewhere.cli import main

main()
