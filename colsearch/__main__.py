"""`python -m colsearch`."""

from colsearch.cli.app import main

main()
