"""The R-Zero algorithm (arXiv 2508.05004), pure: prompts, questions, votes, rewards, advantages, curation and the plan.

Data in, data out: nothing here touches a device, a network or a file, apart from reading prompt files.
"""
