"""What searches and single commands put into the database."""
