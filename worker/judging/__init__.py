"""Language models as judges: the client of their servers, and how they are asked."""
