"""What turns gradients into steps: (model, parameters by path, settings) -> an optimiser of the framework."""
