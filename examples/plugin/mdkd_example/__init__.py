"""A package that adds to mdkd from outside."""
