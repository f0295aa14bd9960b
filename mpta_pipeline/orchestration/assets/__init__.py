"""Assets, one file a group of the graph, in the order in which a respondent becomes a figure."""
