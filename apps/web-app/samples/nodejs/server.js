'use strict';
// Sample application: replace it with your own. It must listen on HOST and PORT.
const http = require('node:http');

http.createServer((request, response) => {
  if (request.url === '/health') {
    response.setHeader('Content-Type', 'text/plain');
    response.end('ok\n');
    return;
  }
  response.setHeader('Content-Type', 'text/html');
  response.end('<!doctype html><title>Sample</title><h1>Sample</h1><p>Node.js answers.</p>');
}).listen(Number(process.env.PORT), process.env.HOST);
