"""Notices to people: templates as data (one YAML file per language), drafting and linting."""
