"""From a trained policy to a bundle that a robot can run, and the checks of that bundle."""
