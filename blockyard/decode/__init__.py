"""From predictions to text."""
