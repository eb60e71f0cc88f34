"""`python -m examples.fastapi_app`: the app on 127.0.0.1:8000, or on PORT."""

import os

import uvicorn

from examples.fastapi_app.app import app

uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
