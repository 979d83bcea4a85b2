"""daily_report: what each day brought, once a day, in a chain of hashes."""
