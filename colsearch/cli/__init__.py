"""What can be typed in a shell? Each command of `colsearch` is a thin call of the public API."""
