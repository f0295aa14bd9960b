"""Kinds of tasks, one module each; a module names what it defines in `KINDS`."""
