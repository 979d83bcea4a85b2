"""Keeps one good access token."""
