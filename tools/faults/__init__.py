"""Faults that tests have to see, each a text of the source and what stands in its place."""
