"""The tasks: each module's ``make`` builds a VecEnv from a task configuration."""
