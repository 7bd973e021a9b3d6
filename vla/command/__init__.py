"""What all commands share: configuration, errors and exit codes, child processes, locks, provenance."""
