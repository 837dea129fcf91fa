"""From text and folders to objects: the only part of the package that reads a config."""
