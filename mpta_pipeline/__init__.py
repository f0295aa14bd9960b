"""mpta_pipeline: survey respondents as personas, and what language models make of them."""

__version__ = "0.1.0"
