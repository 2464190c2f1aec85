"""What the verb `audit` is made of, and shares with `discover`."""
