"""One SGLang server and its life: command line, process, client."""
