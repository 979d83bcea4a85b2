"""Keeps the calendar and the stock master current, and the ledger small."""
