"""What is seen of a run from the outside: logs and traces."""
