"""`python -m colsearch`."""

from colsearch.cli import main

main()
