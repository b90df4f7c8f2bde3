"""Keys and recovery: rotation and retirement of the signing key, backups, restored copies, successors."""
