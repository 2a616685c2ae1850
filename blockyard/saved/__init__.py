"""What is done with the folder of a trained model: score a text, go on with one, make it smaller."""
