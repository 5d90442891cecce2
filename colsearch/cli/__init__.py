"""How is an index used from a shell? Each command of `colsearch` is a thin call of the public API."""
