"""A token service as registries use one (distribution's "token" authentication): basic credentials against a signed list of rights,
over TLS.

    token_service.py ADDRESS PORT KEY CERTIFICATE USER PASSWORD
"""
import base64
import http.server
import json
import ssl
import subprocess
import sys
import time
import urllib.parse

address, port, key, certificate, user, password = sys.argv[1:]


def encode(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).rstrip(b"=")


def signed(claims):
    with open(certificate) as f:
        der = base64.b64encode(ssl.PEM_cert_to_DER_cert(f.read())).decode()
    text = encode({"typ": "JWT", "alg": "RS256", "x5c": [der]}) + b"." + encode(claims)
    return (text + b"." + encode(subprocess.run(["openssl", "dgst", "-sha256", "-sign", key], input=text, capture_output=True, check=True).stdout)).decode()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode():
            self.send_response(401)
            self.end_headers()
            return
        access = [{"type": t, "name": n, "actions": a.split(",")} for t, n, a in (s.rsplit(":", 2) if s.count(":") == 2 else s.split(":", 2) for s in query.get("scope", []))]
        now = int(time.time())
        body = json.dumps({"token": signed({"iss": "tests", "sub": user, "aud": query["service"][0], "exp": now + 300, "nbf": now - 10, "iat": now, "jti": str(now), "access": access})}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
