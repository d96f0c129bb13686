"""What we tell others: callbacks and subscriptions, signed and sent by runs."""
