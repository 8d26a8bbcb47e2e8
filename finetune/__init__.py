"""Images to vote fractions, end to end: backbone and head trained together, into a run folder."""
