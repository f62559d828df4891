"""Whether a model's folder can be used, found out before anything starts and within limits on time and memory."""
