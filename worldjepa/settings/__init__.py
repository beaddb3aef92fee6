"""Every setting as a dataclass, and how words of a command line become one: read, checked, completed."""
