"""Output for people: tables, progress, plots and HTML pages."""
