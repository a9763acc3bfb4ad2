"""Methods, each beside the YAML file with its settings."""
