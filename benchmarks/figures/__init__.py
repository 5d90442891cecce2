"""The figures of the suite; each file says what it claims, measures it, and shows it."""
