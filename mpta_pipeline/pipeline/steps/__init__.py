"""The steps, one file per stage: each function makes one table of the graph from its declared inputs."""
