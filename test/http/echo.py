#!/usr/bin/python3
"""Answers each request with what was asked, as JSON: what nginx makes of a URL.

    echo.py postgrest.conf      listens where server-unix-socket says
"""
import http.server
import json
import os
import re
import socketserver
import sys
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0)).decode()
        said = {'gateway': self.server.name, 'method': self.command, 'path': url.path, 'query': url.query, 'body': body,
                'headers': {name.lower(): value for name, value in self.headers.items()}}
        data = json.dumps(said).encode()
        self.send_response(404 if url.path == '/rpc/no_such_function' else 200)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(data)))
        self.send_header('Location', '/from/here')
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_PUT = do_OPTIONS = answer

    def log_message(self, form, *args):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        return self.socket.accept()[0], ('client', 0)


path = re.search(r'^server-unix-socket = "(.*)"', open(sys.argv[1]).read(), re.M)[1]
if os.path.exists(path):
    os.unlink(path)
server = Server(path, Handler)
server.name = os.path.basename(path).removesuffix('.sock')
server.serve_forever()
