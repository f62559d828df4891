"""Nano's arithmetic: expressions, and clock arithmetic for transfer."""
