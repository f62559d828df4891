"""When two trees are equal: rational arithmetic, values at points, and what relations mean."""
