"""Names of torchvision.transforms.v2 that are needed to import SGLang."""
