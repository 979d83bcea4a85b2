"""Pub/Sub: what is pushed to a function, how it answers, and what it publishes."""
