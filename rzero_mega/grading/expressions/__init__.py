"""What an answer says: trees of numbers, names, functions, groups and relations, with their limits."""
