"""Names of torchvision.transforms.v2.functional that are needed to import SGLang: the module alone."""
