"""headrace.http."""
