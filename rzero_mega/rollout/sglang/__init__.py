"""SGLang servers: launching them, speaking to them, keeping them alive, and the rollout engine made of them."""
