"""Trained models that answer over HTTP, in the forms that clients of OpenAI's interface know."""
