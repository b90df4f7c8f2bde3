"""What is owed by when: assessments of the law engine, deadlines as rows, and their tick."""
