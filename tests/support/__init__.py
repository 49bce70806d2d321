"""What the end-to-end tests stand on: a recording upstream, a raw client, and Outgate as a real process."""
