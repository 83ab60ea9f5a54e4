"""One sequence of characters into another: languages, dates, pronunciation."""
