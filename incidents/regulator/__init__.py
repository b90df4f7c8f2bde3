"""The regulator's file: the report and the bundle that proves it."""
