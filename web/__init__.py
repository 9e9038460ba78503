"""The page's templates and static files, as package data. Holds no code."""
