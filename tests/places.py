"""Where the checkout lies, for tests in whatever folder."""

from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
CONFIGS = CHECKOUT / "configs"
RECORDED = CHECKOUT / "tests" / "recorded"
