"""Fetching from a server of the test's own: whole, resumed, broken off, damaged, and malicious archives."""

import hashlib
import io
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unet_train.data import fetch as module
from unet_train.data.fetch import ARCHIVES, Archive, fetch, fetch_archive, fetch_challenge
from unet_train.errors import UserError


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


GOOD = zipped(
    {"Set/01/t000.tif": b"a" * 5000, "Set/01_GT/SEG/man_seg000.tif": b"b", "Set/02/": b"", "other/x": b""}
)


class Server(ThreadingHTTPServer):
    """Serves `content`; notes the ranges asked for; can break off, or know nothing of ranges."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = GOOD
        self.ranges = []
        self.ignores_ranges = False
        self.breaks_after = []  # bytes after which the next answers end too early
        self.status = 200

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/Set.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.ranges.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(wanted[6:-1]) if wanted and not server.ignores_ranges else 0
        if start >= len(server.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        body = server.content[start:]
        self.wfile.write(body[: server.breaks_after.pop(0)] if server.breaks_after else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def archive(server, content=None):
    digest = hashlib.sha256(server.content if content is None else content).hexdigest()
    return Archive(server.url, digest, "Set", "cite us")


def test_download_check_unpack(server, tmp_path):
    root = tmp_path / "data" / "my set"
    assert fetch_archive(archive(server), root)
    assert (root / "01/t000.tif").read_bytes() == b"a" * 5000
    assert (root / "01_GT/SEG/man_seg000.tif").read_bytes() == b"b"
    assert (root / "02").is_dir()
    assert [path.name for path in root.parent.iterdir()] == ["my set"]  # nothing else stays
    assert not fetch_archive(archive(server), root)
    assert len(server.ranges) == 1  # the second call asked for nothing


def test_goes_on_with_a_partial_download(server, tmp_path):
    (tmp_path / "Set.zip.part").write_bytes(GOOD[:2000])
    assert fetch_archive(archive(server), tmp_path / "root")
    assert server.ranges == ["bytes=2000-"]
    assert (tmp_path / "root/01/t000.tif").stat().st_size == 5000


def test_connection_lost_twice(server, tmp_path):
    server.breaks_after = [1000, 500]
    assert fetch_archive(archive(server), tmp_path / "root")
    assert server.ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_server_without_ranges(server, tmp_path):
    (tmp_path / "Set.zip.part").write_bytes(GOOD[:2000])
    server.ignores_ranges = True
    assert fetch_archive(archive(server), tmp_path / "root")


def test_partial_file_of_something_else(server, tmp_path):
    (tmp_path / "Set.zip.part").write_bytes(b"x" * 2000)
    assert fetch_archive(archive(server), tmp_path / "root")
    assert server.ranges == ["bytes=2000-", None]  # the sum was wrong: begun anew
    (tmp_path / "Set.zip.part").write_bytes(b"x" * (len(GOOD) + 5))
    assert fetch_archive(archive(server), tmp_path / "root2")


def test_complete_file_beside_it_is_taken(server, tmp_path):
    (tmp_path / "Set.zip").write_bytes(GOOD)
    assert fetch_archive(archive(server), tmp_path / "root")
    assert server.ranges == []


def test_wrong_sum(server, tmp_path):
    with pytest.raises(UserError, match=r"Set\.zip: .*sha256 [0-9a-f]+.*\b[0-9a-f]{64}"):
        fetch_archive(archive(server, b"other"), tmp_path / "root")
    assert list(tmp_path.iterdir()) == []


def test_no_such_file_and_no_server(server, tmp_path):
    server.status = 404
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*HTTP 404.*Set\.zip") as caught:
        fetch_archive(archive(server), tmp_path / "root")
    assert "\n" not in str(caught.value)
    assert len(server.ranges) == 1
    gone = Archive("http://127.0.0.1:9/Set.zip", "0", "Set", "")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/Set\.zip: "):
        fetch_archive(gone, tmp_path / "root")


def link():
    member = zipfile.ZipInfo("Set/link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "Set/../../evil",
        "/etc/evil",
        "Set/..\\..\\evil",
        "C:/evil",
        "Set/c:evil",
        "\\\\host\\evil",
        link(),
    ],
)
def test_members_that_leave_the_folder(server, tmp_path, name):
    server.content = zipped({"Set/01/t000.tif": b"a", name: b"/etc"})
    with pytest.raises(UserError, match=r"refused, its member .* nothing unpacked"):
        fetch_archive(archive(server), tmp_path / "a/b/root")
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"Set.zip"}


def test_not_a_zip_or_another_folder(server, tmp_path):
    server.content = b"no zip"
    with pytest.raises(UserError, match=r"Set\.zip: is no whole zip file"):
        fetch_archive(archive(server), tmp_path / "root")
    (tmp_path / "Set.zip").unlink()
    server.content = zipped({"Elsewhere/a": b""})
    with pytest.raises(UserError, match=r"Set\.zip.* folder Set\b"):
        fetch_archive(archive(server), tmp_path / "root")


def test_destination_in_use(server, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="holds something else"):
        fetch_archive(archive(server), tmp_path / "root")
    with pytest.raises(UserError, match="is a file"):
        fetch_archive(archive(server), tmp_path / "root/notes.txt")
    (tmp_path / "root/notes.txt").unlink()
    assert fetch_archive(archive(server), tmp_path / "root")  # an empty folder is fine


def test_names(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"dic_hela\?"):
        fetch_challenge("dic_hella", tmp_path)
    with pytest.raises(
        UserError, match=r"kaggle\.com/datasets/mateuszbuda/lgg-mri-segmentation.*dataset\.root"
    ):
        fetch("brain_mri", tmp_path)
    called = []
    monkeypatch.setattr(module, "fetch_archive", lambda archive, *_, **__: called.append(archive) or True)
    for name in ("phc_u373", "DIC-C2DH-HeLa"):
        assert "citation" in fetch(name, tmp_path)
    assert called == [ARCHIVES["phc_u373"], ARCHIVES["dic_hela"]]
    assert all(
        len(item.sha256) == 64 and item.url.endswith(f"/{item.folder}.zip") for item in ARCHIVES.values()
    )
