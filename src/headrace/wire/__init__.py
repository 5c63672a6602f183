"""What travels between client, server and worker: shapes, limits, problems and routes. No I/O."""
