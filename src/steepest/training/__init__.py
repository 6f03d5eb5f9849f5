"""Training: the one visible loop, and `fit`, which follows it and keeps a record."""
