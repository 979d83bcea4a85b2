"""The same stack on one machine."""
