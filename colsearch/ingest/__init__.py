"""How do documents get in? Input is checked once, cut into passages on request, encoded, coded and staged batch by batch."""
