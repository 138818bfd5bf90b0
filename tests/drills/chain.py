#!/usr/bin/env python3
"""The whole chain on loopback: Postgres, two processes of the site, nginx with TLS, and a certificate.

`bin/chain` and the drills beside this file use it. Everything is below one directory, on eight ports in a row,
and ends with the process that started it.
"""

import argparse
import base64
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ledger.process import PROJECT, Stopped, dies_with_us, listens, program, ready, say, until
from ledger.site import Postgres

# Browsers know that every name below localhost is this machine.
NAME = "social.localhost"


class Chain:
    def __init__(self, directory, port, rate_limits="off"):
        self.directory = Path(directory).resolve()
        self.http, self.https, *rest = range(port, port + 8)
        self.processes_ports, self.pebble_ports = rest[:2], rest[2:]
        self.url = f"https://{NAME}:{self.https}"
        self.rate_limits = rate_limits
        self.running, self.processes = [], [None, None]
        self.server = None
        self.secret = secrets.token_hex(32)
        # What to trust: a file.
        self.ca = self.directory / "ca.pem"

    def __enter__(self):
        for port in (self.http, self.https, *self.processes_ports, *self.pebble_ports):
            if listens(port):
                raise Stopped(f"port {port} is taken: choose others with --port")
        if (self.directory / "nginx").exists():
            shutil.rmtree(self.directory)
        (self.directory / "logs").mkdir(parents=True)
        try:
            self.postgres()
            for number in (0, 1):
                self.start(number)
            self.nginx()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in reversed([*self.running, *self.processes]):
            if child and child.poll() is None:
                # Postgres ends its connections at once with this, nginx too; the others just end.
                child.send_signal(signal.SIGINT)
        for child in [*self.running, *self.processes]:
            if child:
                try:
                    child.wait(20)
                except subprocess.TimeoutExpired:
                    child.kill()
        if self.server:
            self.server.stop()

    def log(self, name):
        return open(self.directory / "logs" / f"{name}.log", "ab")

    def launch(self, name, command, **options):
        with self.log(name) as log:
            child = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=dies_with_us, start_new_session=True, **options,
            )
        return child

    def run(self, name, command, **options):
        with self.log(name) as log:
            done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
        if done.returncode != 0:
            raise Stopped(f"{Path(command[0]).name} failed: see {self.directory}/logs/{name}.log")

    def postgres(self):
        self.server = Postgres(self.directory / "postgres", self.directory / "logs/postgres.log")
        self.server.start()
        self.running.append(self.server.child)
        self.database_url = self.server.url
        self.run("migrate", [program(), "migrate", "up"], env=self.settings(), cwd=self.directory)

    def settings(self, **more):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return {
            **kept, "DATABASE_URL": self.database_url, "BASE_URL": self.url, "JWT_SECRET": self.secret,
            "RATE_LIMITS": self.rate_limits, "NO_COLOR": "1", **more,
        }

    def start(self, number):
        """Starts one of the two processes and waits until it is ready."""
        port = self.processes_ports[number]
        settings = self.settings(LISTEN_ADDR=f"127.0.0.1:{port}")
        child = self.launch(f"process-{number}", [program(), "serve"], env=settings, cwd=self.directory)
        self.processes[number] = child
        until(f"process {number} (see {self.directory}/logs)", lambda: child.poll() is not None or ready(port))
        if child.poll() is not None:
            raise Stopped(f"process {number} ended with {child.returncode}: see {self.directory}/logs/process-{number}.log")

    def stop(self, number):
        """Ends one with SIGTERM; its exit code."""
        child = self.processes[number]
        child.send_signal(signal.SIGTERM)
        return child.wait(60)

    def openssl(self, *arguments):
        self.run("openssl", ["openssl", *arguments])

    def nginx(self):
        """With a certificate that it signed itself, until there is another."""
        self.tls = self.directory / "nginx" / "tls"
        here = [f"127.0.0.1:{port}" for port in self.processes_ports]
        made = subprocess.run(
            [PROJECT / "tests/drills/nginx-conf", self.directory / "nginx", NAME, str(self.http), str(self.https), *here],
            capture_output=True, text=True, check=True,
        )
        conf = self.directory / "nginx" / "nginx.conf"
        conf.write_text(made.stdout)
        self.openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
            "-keyout", self.tls / "privkey.pem", "-out", self.tls / "fullchain.pem",
        )
        shutil.copy(self.tls / "fullchain.pem", self.ca)
        command = ["nginx", "-p", f"{self.directory}/nginx", "-c", conf, "-e", self.directory / "logs/nginx.log"]
        self.run("nginx", [*command, "-t"])
        self.running.append(self.launch("nginx", [*command, "-g", "daemon off;"]))
        until("nginx", lambda: listens(self.https))

    def certificate(self):
        """Has certbot fetch one from Pebble, an ACME server for tests, through nginx."""
        api, management, dns, other = self.pebble_ports
        place = self.directory / "pebble"
        place.mkdir()
        self.openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", place / "key.pem", "-out", place / "cert.pem",
        )
        (place / "pebble.json").write_text(json.dumps({"pebble": {
            "listenAddress": f"127.0.0.1:{api}", "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": str(place / "cert.pem"), "privateKey": str(place / "key.pem"),
            "httpPort": self.http, "tlsPort": self.https,
        }}))
        names = ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", f"127.0.0.1:{dns}", "-http01", "", "-https01", "", "-tlsalpn01", ""]
        self.running.append(self.launch("names", ["pebble-challtestsrv", *names, "-management", f"127.0.0.1:{other}"]))
        self.running.append(self.launch(
            "pebble", ["pebble", "-config", place / "pebble.json", "-dnsserver", f"127.0.0.1:{dns}"],
            # By default it refuses one nonce in twenty to see what a client does; certbot asks once
            # more and then gives up.
            env={**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
        ))
        until("Pebble", lambda: listens(api) and listens(management))
        self.certbot(
            "certonly", "--webroot", "-w", self.directory / "nginx/acme", "-d", NAME,
            "--deploy-hook", PROJECT / "deploy/nginx/new-certificate",
            "--server", f"https://localhost:{api}/dir", "--agree-tos", "-m", "ops@example.org", "--no-eff-email",
        )
        trusted = ssl.create_default_context(cafile=place / "cert.pem")
        with urllib.request.urlopen(f"https://localhost:{management}/roots/0", context=trusted) as answer:
            self.ca.write_bytes(answer.read())
        until("the certificate", lambda: self.serial() is not None)

    def renew(self):
        self.certbot("renew", "--force-renewal", "--no-random-sleep-on-renew")

    def certbot(self, command, *arguments):
        place = self.directory / "certbot"
        directories = [part for kind in ("config", "work", "logs") for part in (f"--{kind}-dir", place / kind)]
        environment = {
            **os.environ, "REQUESTS_CA_BUNDLE": str(self.directory / "pebble/cert.pem"),
            "TLS_DIRECTORY": str(self.tls), "NGINX_PID": str(self.directory / "nginx/nginx.pid"),
        }
        self.run("certbot", ["certbot", command, "-n", *directories, *arguments], env=environment)

    def serial(self):
        """The number of the certificate that nginx shows, if it can be trusted."""
        trusted = ssl.create_default_context(cafile=self.ca)
        try:
            with socket.create_connection(("127.0.0.1", self.https), 10) as plain:
                with trusted.wrap_socket(plain, server_hostname=NAME) as stream:
                    return stream.getpeercert()["serialNumber"]
        except OSError:
            return None

    def key_hash(self):
        """Of the certificate's key, as browsers take it."""
        key = subprocess.run(["openssl", "x509", "-in", self.tls / "fullchain.pem", "-pubkey", "-noout"], capture_output=True, check=True)
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key.stdout, capture_output=True, check=True)
        return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()


def story(chain):
    """The browser's story through the chain, with JavaScript and without."""
    environment = {
        **os.environ, "SQLX_OFFLINE": "true", "CHAIN_URL": chain.url, "CHAIN_DATABASE_URL": chain.database_url,
        "CHAIN_KEY_HASH": chain.key_hash(),
    }
    command = ["cargo", "test", "--locked", "--package", "browser-tests", "story", "--", "--test-threads=1"]
    return subprocess.run(command, cwd=PROJECT, env=environment).returncode


def main():
    parser = argparse.ArgumentParser(prog="bin/chain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8440, help="the first of eight (8440)")
    parser.add_argument("--test", action="store_true", help="send the browser's story through it, and stop")
    given = parser.parse_args()
    for end in (signal.SIGTERM, signal.SIGINT):
        signal.signal(end, lambda *_: sys.exit(0))

    directory = program().parents[1] / "chain"
    with Chain(directory, given.port, rate_limits="on") as chain:
        chain.certificate()
        if given.test:
            sys.exit(3 if story(chain) else 0)
        say(f"The whole chain runs: {chain.url}")
        say(f"  through nginx ({directory}/nginx/nginx.conf) to {' and '.join(map(str, chain.processes_ports))}")
        say(f"  to trust its certificate: curl --cacert {chain.ca} {chain.url}")
        say("  in a browser: import that file as an authority, or accept the warning")
        say(f"  logs: {directory}/logs, {directory}/nginx/logs")
        say("  Ctrl-C stops all of it and the next start begins anew")
        while all(child.poll() is None for child in (*chain.running, *chain.processes)):
            time.sleep(1)
        raise Stopped(f"a part of it has ended: see {directory}/logs")


if __name__ == "__main__":
    try:
        main()
    except Stopped as err:
        raise SystemExit(f"bin/chain: {err}") from err
