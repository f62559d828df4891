"""Answers as text: out of its box, in one spelling, words for numbers, and units set apart."""
