"""The report of a benchmark: tables, figures and sentences that follow from its results."""
