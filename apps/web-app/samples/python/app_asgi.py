"""Sample ASGI application: replace it with your own."""


async def application(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/health":
        body, kind = b"ok\n", b"text/plain"
    else:
        body, kind = b"<!doctype html><title>Sample</title><h1>Sample</h1><p>Python answers.</p>", b"text/html"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})
