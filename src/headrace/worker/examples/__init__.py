"""Workers that do something real: to read, to run, to copy from."""
