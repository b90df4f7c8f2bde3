"""One process that writes for many: frames over a Unix socket, a server, a client, and who leads."""
