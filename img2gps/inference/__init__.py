"""What a finished run answers: predictions, and scores on other photos."""
