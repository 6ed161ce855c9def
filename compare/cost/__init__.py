"""What the homes cost a month for given traffic, and where the answer to "which is cheaper" flips."""
