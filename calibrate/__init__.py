"""Before the line: thresholds from good frames, evaluation and reports."""
