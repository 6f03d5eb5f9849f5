"""Reporting: pages made from records, and from nothing else."""
