"""Names of torchvision.io that are needed to import SGLang: the module alone."""
