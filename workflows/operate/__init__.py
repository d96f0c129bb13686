"""What operators do to runs and queues that are there: find, explain, repair, in bulk as well."""
