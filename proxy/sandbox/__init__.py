"""A sandbox: what it sees, as values, and how it is started and joined to a proxy."""
