"""headrace.store."""
