"""What Outgate counts of its own work, and how Prometheus and health checks are told."""
