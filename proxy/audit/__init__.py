"""The audit log: what is recorded of an exchange, and the files it is recorded in."""
