"""The kinds of artefacts, one file each. `mdkd/kinds.py` lists them with their options."""
