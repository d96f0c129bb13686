"""What others tell us: endpoints, their deliveries, and what each of them becomes."""
