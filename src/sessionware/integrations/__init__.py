"""What frameworks want to be told in their own words; each module needs its framework installed."""
