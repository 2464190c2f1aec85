"""`python -m pellucid`: the same as the command `pellucid`, where that is not on the path."""

from pellucid.cli.app import main

if __name__ == "__main__":
    main()
