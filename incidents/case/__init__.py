"""The incident itself: an event-sourced aggregate, its facts, and where it is kept."""
