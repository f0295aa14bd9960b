"""What an estimate is compared with: people, guesses, ceilings, published polls."""
