"""Answers whether the data are complete, and if not, why: for people and programs."""
