"""AI judges: their settings, what they are asked, and how their replies are read and measured."""
