"""What goes wrong with a picture file. Used by this package alone, and by who calls it."""


class Malformed(Exception):
    """The file is not built as a file of its kind is."""


class UnknownKind(Malformed):
    """The file is of none of the four kinds."""
