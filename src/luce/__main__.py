"""`python -m luce` is the command line."""

from luce.cli import main

if __name__ == "__main__":
    main()
