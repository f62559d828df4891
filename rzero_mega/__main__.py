"""`python -m rzero_mega` is the command `rzero-mega`."""

from rzero_mega.cli import main

if __name__ == "__main__":
    main()
