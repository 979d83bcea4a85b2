"""Keeps the trading calendar and the stock master."""
