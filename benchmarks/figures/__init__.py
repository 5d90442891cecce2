"""The figures of the suite; each file states a claim, measures it and shows the result."""
