"""What people and programs touch: the HTTP API, the console, the command line, the demo."""
