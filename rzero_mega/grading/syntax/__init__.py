"""From normalised text to a tree: lexer, cursor, and the parser with its rules."""
