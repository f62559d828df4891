"""Models behind OpenAI's interface, for judge and oracle: asked patiently, nothing twice, within a budget."""

from rzero_mega.evaluation.endpoint.chat import ChatAnswer, ChatRequest
from rzero_mega.evaluation.endpoint.client import Asked, Endpoint, check_key

__all__ = ["Asked", "ChatAnswer", "ChatRequest", "Endpoint", "check_key"]
