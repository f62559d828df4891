"""A world without right and wrong: a row of words is to be written better."""
