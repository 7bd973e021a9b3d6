"""Plan, workers, journal, summary, statistics, comparison and report of a success-rate evaluation."""
