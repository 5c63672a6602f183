"""The HTTP face: decode, one command, await its reply, encode. Nothing is decided here."""
