"""Images to vote fractions, end to end; a run leaves a backbone that extraction takes like any other."""
