"""Task kinds: one file per kind or family of kinds. A module lists its kinds in `KINDS`; a YAML file is one kind."""
