"""How do token vectors become bits? A fixed rotation and a uniform grid per token; nothing is trained."""
