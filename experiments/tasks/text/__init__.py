"""Texts: characters one by one, and labels of whole texts."""
