#!/usr/bin/env python3
"""A registry of npm packages that are up to no good, on a port of loopback.

    registry.py CANARIES NEARBY READY-FILE [UPSTREAM]

CANARIES is a folder outside of every build, whose files no package may read or change; NEARBY is a JSON
file that the builder's jail has, but no package. The address is written to READY-FILE once it listens.
Names that are not known here are sent to UPSTREAM.
Package names say what each of them tries; tests/images/hostile_packages.sh says what is to become of it.
"""
import base64, gzip, hashlib, io, json, os, sys, tarfile, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CANARIES, NEARBY, READY = sys.argv[1:4]
UPSTREAM = sys.argv[4].rstrip("/") if len(sys.argv) > 4 else None
UP = "../" * 30
OUTSIDE = CANARIES.lstrip("/")


def entry(name, data=b"", kind=tarfile.REGTYPE, target="", mode=0o644):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, target, mode, len(data)
    return info, data


def archive(entries):
    """Entries of tar, as npm's are: below package/."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), 1, mtime=0)


def zeros(size):
    """An archive with one file of almost only zeros, made without having them: 200 times smaller."""
    info = tarfile.TarInfo("package/zeros.js")
    info.size = size
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(info.tobuf())
        for _ in range(size >> 20):
            stream.write(os.urandom(4096) + bytes((1 << 20) - 4096))
        stream.write(bytes(1024))
    return out.getvalue()


def package(name, cli, files=(), entries=(), raw=None, **more):
    manifest = {"name": name, "version": "1.0.0", "bin": {name: "cli.js"}} | more
    listed = [("package.json", json.dumps(manifest)), ("cli.js", "#!/usr/bin/env node\n" + cli), *files]
    tarball = raw or archive([entry("package/" + path, text.encode()) for path, text in listed] + list(entries))
    return manifest, tarball


def packages(address):
    made = [
        package("good", "console.log(require('./lib.js').text + require('./data.json').text);",
                [("lib.js", "exports.text = 'good ' + __dirname.length;"), ("data.json", '{"text": " data"}')]),
        # A command of a package that it depends on, by name and by the place where npm links it; and a
        # package whose command is called like one of the system's.
        package("finds", "const {execFileSync} = require('child_process'); console.log(String("
                "execFileSync('told', ['by name'])) + execFileSync(__dirname + '/../.bin/told', ['by place']));",
                dependencies={"told": "1.0.0"}),
        package("told", "console.log('told ' + process.argv[2]);",
                bin={"told": "cli.js", "../../../escapes": "cli.js", "out": f"{UP}{OUTSIDE}/victim.js"}),
        # What the bundler is made to read, and what the tied copy is made to write.
        package("reaches", f"""
            const n = process.argv[2];
            try {{ console.log(require('{CANARIES}/secret.json'), require('{UP}{OUTSIDE}/secret.json')); }} catch {{}}
            try {{ console.log(require('{UP}{OUTSIDE}/' + n + '.json'), require(`{UP}{OUTSIDE}/${{n}}.json`)); }} catch {{}}
            try {{ require('../../../../../../' + n + '.json'); }} catch {{}}
            try {{ require('{UP}{OUTSIDE}/victim.js'); require('{UP}{OUTSIDE}/' + n + '.js'); }} catch {{}}
            import('{CANARIES}/secret.json', {{with: {{type: 'json'}}}}).catch(() => {{}});"""),
        package("nearby", f"console.log(require('{NEARBY}').name);"),
        # Entries that leave the package, and names that look like something else where they are shown.
        package("archive", "console.log(require('./a\\nerror: gone.js') + require('./\\x1b[2Jb.js'));", [
            ("a\nerror: gone.js", "module.exports = 1;"), ("\x1b[2Jb.js", "module.exports = 2;"),
            ("-rf", ""), ("$(touch x)", ""), ("\u202egnp.js", "")], [
            entry("package/data.json", kind=tarfile.SYMTYPE, target=f"{CANARIES}/secret.json"),
            entry("package/out", kind=tarfile.SYMTYPE, target=CANARIES),
            entry("package/out/written.js", b"written"),
            entry("package/hard.json", kind=tarfile.LNKTYPE, target=f"{CANARIES}/secret.json"),
            entry(f"package/{UP}{OUTSIDE}/written.js", b"written"),
            entry(f"{CANARIES}/written.js", b"written"),
            entry("package/../../../../../report.json", b'{"manifest": {}}')]),
        package("bin-outside", "1;", bin={"bin-outside": f"{UP}{OUTSIDE}/victim.js"}),
        package("bin-is-link", "1;", bin={"bin-is-link": "link.js"}, entries=[
            entry("package/link.js", kind=tarfile.SYMTYPE, target=f"{CANARIES}/victim.js")]),
        # More than anybody wants.
        package("many-files", "1;", [(f"f/{n % 100}/{n}", "") for n in range(6000)]),
        package("bomb", "1;", raw=zeros(400 << 20)),
        package("deep", "1;", [("d/" * 600 + "x.js", "")]),
        # What no hash of the registry locks.
        package("by-url", "1;", dependencies={"good": f"{address}/-/good.tgz"}),
        package("by-git", "1;", dependencies={"good": f"git+file://{CANARIES}/repository"}),
        package("by-folder", "1;", dependencies={"good": f"file:{CANARIES}"}),
        package("by-url-deep", "1;", dependencies={"by-url": "1.0.0"}),
        package("never", "1;"),
        # Install scripts, which no host runs: one that makes what the command needs, with a command of
        # another package; one that wants the network.
        package("scripted", "console.log(require('./made.json').made, __filename);", [
            ("make.js", "const fs = require('fs'); fs.writeFileSync('made.json', JSON.stringify({made: "
                        "process.argv[2] + ' by ' + process.env.npm_lifecycle_event})); fs.unlinkSync('make.js');"),
            ("tool.js", "#!/usr/bin/env node\n")],
            scripts={"preinstall": "maker", "postinstall": "node make.js $(cat ../maker/said)"},
            dependencies={"maker": "1.0.0", "fetches": "1.0.0"}),
        package("maker", "require('fs').writeFileSync(__dirname + '/said', require('./ready.json').word);",
                scripts={"install": "echo '{\"word\": \"made\"}' > ready.json"}),
        package("fetches", "1;", scripts={"postinstall":
                "echo fetching 1>&2; node -e \"require('dns').lookup('example.com', (e) => { "
                "console.log('no way out:', e.code); process.exit(e ? 3 : 0); })\""}),
        package("only-fetches", "throw new Error('not fetched');", scripts={"install": "exit 7"}),
    ]
    return {manifest["name"]: (manifest, tarball) for manifest, tarball in made}


def document(name, manifest, tarball, address):
    digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    version = manifest | {"dist": {"tarball": f"{address}/-/{name}.tgz", "integrity": "sha512-" + digest}}
    return {"name": name, "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}


class Registry(BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/never":
            threading.Event().wait()  # a server that takes the call and says nothing
        if path.startswith("/-/") and path.endswith(".tgz") and path[3:-4] in KNOWN:
            return self.answer(KNOWN[path[3:-4]][1], "application/octet-stream")
        if path[1:] in KNOWN:
            manifest, tarball = KNOWN[path[1:]]
            return self.answer(json.dumps(document(path[1:], manifest, tarball, ADDRESS)).encode(), "application/json")
        self.send_response(302 if UPSTREAM else 404)
        if UPSTREAM:
            self.send_header("Location", UPSTREAM + self.path)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


SERVER = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
SERVER.daemon_threads = True
ADDRESS = f"http://127.0.0.1:{SERVER.server_port}"
KNOWN = packages(ADDRESS)
with open(READY + ".new", "w") as ready:
    ready.write(ADDRESS)
os.rename(READY + ".new", READY)
SERVER.serve_forever()
