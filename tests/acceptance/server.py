"""What the smoke script asks: `uvicorn tests.acceptance.server:app`."""

from tests.acceptance.outside import app_of

app = app_of()
