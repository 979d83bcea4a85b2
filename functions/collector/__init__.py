"""Collects one stock in one timeframe."""
