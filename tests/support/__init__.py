"""What test files share; pyproject.toml puts tests/ on the path for them: `from support.problems import problem`."""
