"""What makes a prepared set."""
