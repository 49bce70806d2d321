"""What audit logs tell, asked with DuckDB over the files. Needs the extra `review`, which the proxy does not have."""
