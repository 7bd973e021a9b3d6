"""What can be wrong with a dataset on disk."""


class DatasetError(ValueError):
    """A dataset cannot be read or written; the message says what, where, and what to do."""
