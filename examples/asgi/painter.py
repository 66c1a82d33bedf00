"""An application that paints, guarded: uvicorn --factory painter:create."""

import io
from typing import Annotated

from fastapi import FastAPI, Form, Response, UploadFile
from PIL import Image, ImageOps

import tutela.guard
from tutela.guard.integrations.asgi import GuardMiddleware


def create(data: str = "tutela-data") -> FastAPI:
    app = FastAPI()
    gate = tutela.guard.open(data)
    app.add_middleware(GuardMiddleware, gate=gate, routes=["/edit"], outputs=True)

    @app.post("/edit")
    def edit(prompt: Annotated[str, Form()], image: UploadFile) -> Response:
        # Your model here.
        made = ImageOps.mirror(Image.open(image.file).convert("RGB"))
        buffer = io.BytesIO()
        made.save(buffer, "PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    return app
