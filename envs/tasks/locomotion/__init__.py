"""Legged locomotion: velocity tracking on flat and rough ground, getting up."""
