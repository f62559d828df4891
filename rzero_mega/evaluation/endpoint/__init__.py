"""Models behind OpenAI's interface, for judge and oracle: asked patiently, nothing twice, within a budget."""
