"""What is decided before the first run: budgets, arms, data, seeds."""
