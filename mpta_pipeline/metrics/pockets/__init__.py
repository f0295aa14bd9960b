"""Find pockets: trait combinations for which a model does worse."""
