"""What each request and each answer goes through."""
