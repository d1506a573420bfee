"""Sample WSGI application: replace it with your own."""


def application(environ, start_response):
    if environ["PATH_INFO"] == "/health":
        body, kind = b"ok\n", "text/plain"
    else:
        body, kind = b"<!doctype html><title>Sample</title><h1>Sample</h1><p>Python answers.</p>", "text/html"
    start_response("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
