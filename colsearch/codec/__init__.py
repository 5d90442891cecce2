"""How do token vectors become bits? By a fixed rotation and a uniform grid per token; nothing is trained."""
