"""Fetching a file from a server that cuts connections and lies."""

from types import SimpleNamespace

import pytest
from download_case import TEST, TRAINVAL

from mdkd.data import fetch
from mdkd.errors import UserError


def test_a_cut_connection_goes_on_where_it_broke(case, archives):
    size = len(archives[TRAINVAL])
    case.server.faults = [size // 2, 1000]
    case.download()
    asked = [asked for name, asked in case.server.requests if name == TRAINVAL]
    assert asked == [None, f"bytes={size // 2}-", f"bytes={size // 2 + 1000}-"]
    assert sum(case.server.sent) == size + len(archives[TEST])  # no byte twice
    assert case.loads()


def test_a_killed_download_goes_on_in_the_next_call(case, archives):
    half = len(archives[TEST]) // 2
    case.server.faults = [None, half, "404"]
    case.refused("HTTP 404")
    case.download()
    assert case.server.requests[-1] == (TEST, f"bytes={half}-")
    assert [name for name, _ in case.server.requests].count(TRAINVAL) == 1
    assert case.loads()


def test_a_server_without_ranges_sends_all_again(case):
    case.server.ranges, case.server.faults = False, [5000]
    case.download()
    assert [asked for _, asked in case.server.requests] == [None, "bytes=5000-", None]
    assert case.loads()


def test_without_an_etag_the_rest_is_asked_for_all_the_same(case, archives):
    case.server.etags, case.server.faults = False, [5000]
    case.download()
    assert sum(case.server.sent) == len(archives[TRAINVAL]) + len(archives[TEST])
    assert case.loads()


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changes_meanwhile_is_fetched_anew(case, monkeypatch, honours_if_range):
    new = case.server.files[TRAINVAL]
    case.server.files[TRAINVAL] = bytes(len(new))
    case.server.faults = [5000, "404"]
    case.refused("404")
    case.server.files[TRAINVAL] = new
    if not honours_if_range:
        monkeypatch.setattr(fetch.urllib.request.Request, "add_header", without_if_range)
    case.download()
    assert case.loads()


def without_if_range(request, key, value):
    if key != "If-Range":
        request.headers[key.capitalize()] = value


@pytest.mark.parametrize("excess", [0, 1])
def test_a_part_of_full_length_or_more_is_judged(case, archives, excess):
    case.work.mkdir(parents=True)
    (case.work / f"{TRAINVAL}.part").write_bytes(archives[TRAINVAL] + bytes(excess))
    case.download()
    assert len(case.server.requests) == 1 + excess
    assert case.loads()


def test_another_size_is_refused_before_it_is_fetched(case):
    case.server.files[TRAINVAL] += b"more"
    case.refused(TRAINVAL, "bytes, expected", "--mirror")
    assert not list(case.work.rglob("*.part"))


@pytest.mark.parametrize("length", ["", "many", "-5", "1e3"])
def test_a_length_that_is_no_number_is_not_believed(tmp_path, length):
    response = SimpleNamespace(headers={"Content-Length": length})
    fetch._start("http://x/a.tar", tmp_path / "a.tar.part", 3, response)
    assert (tmp_path / "a.tar.part").read_bytes() == b""
    response.headers["Content-Length"] = "4"
    with pytest.raises(UserError, match="has 4 bytes, expected 3"):
        fetch._start("http://x/a.tar", tmp_path / "a.tar.part", 3, response)


def test_a_missing_file_names_address_and_fix(case):
    del case.server.files[TRAINVAL]
    case.refused(f"{case.server.url}/pub/{TRAINVAL}: HTTP 404", "--mirror")
    assert len(case.server.requests) == 1


def test_a_server_that_is_down_names_address_and_fix(case):
    case.server.close()
    case.refused(f"{case.server.url}/pub/{TRAINVAL}", "refused", "--mirror")


def test_passing_faults_are_overcome(case):
    case.server.faults = ["503", "429", 100, "500"]
    case.download()
    assert case.loads()


@pytest.mark.parametrize("fault", ["503", 0, 100, 5000])
def test_attempts_are_bounded(case, monkeypatch, fault):
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    case.server.ranges, case.server.faults = False, [fault] * 99
    case.refused("--mirror")
    assert len(case.server.requests) == fetch.ATTEMPTS + (fault == 5000)  # progress, but only once


def test_attempts_that_make_progress_are_not_counted(case, monkeypatch):
    monkeypatch.setattr(fetch, "CHUNK", 1000)
    case.server.faults = [2000] * 4 * fetch.ATTEMPTS
    case.download()
    assert case.loads()


def test_waiting_times_double(case, monkeypatch):
    waits = []
    monkeypatch.setattr(fetch, "WAIT_S", 1.0)
    monkeypatch.setattr(fetch.time, "sleep", waits.append)
    case.server.faults = ["503"] * 99
    case.refused("HTTP 503")
    assert waits == [2.0, 4.0, 8.0, 16.0]
