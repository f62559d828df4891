"""What an answer may mean, whether two answers are equal, and classes of equal answers."""
