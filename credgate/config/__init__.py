"""What the operator wrote: the schema, the TOML file, references to secrets."""
