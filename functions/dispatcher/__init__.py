"""Turns a trigger into a run."""
