"""The secret of a deployment: made once, never replaced, and loud when it is gone."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import insert

from tutela.banks import Banks
from tutela.errors import ConfigurationError, SealBroken
from tutela.store import Store, now
from tutela.store.secret import Keyring, Secret
from tutela.store.tables import entries, sealed

SECRET = Secret(bytes(range(32)))
KEYED = "bd2d6d8b33e6cab556e24fc2009087d7f45de3225a6ce890e64f1445afab7642"
DIGEST = "8eec71dc12b4527a30cad359b3ed2215ee9ccf920ecda69c023d1184ebcef3a3"
CHECK = 3106511181561035039
BODY = "0d075760b62f7eb0b7eefd0260ac8a169d8db7f9277bdabd3df33693e8b2ce5df9"
rows = st.binary(min_size=64, max_size=64).map(
    lambda data: np.frombuffer(data, np.uint8).reshape(2, 32)
)


def distance(pair: np.ndarray) -> int:
    return int(np.bitwise_count(pair[0] ^ pair[1]).sum())


@given(rows)
def test_the_isometry_keeps_every_distance(pair: np.ndarray) -> None:
    assert distance(SECRET.keyed(pair)) == distance(pair)


def test_the_isometry_is_one_permutation_and_one_mask_of_all_bits() -> None:
    zero = np.zeros((1, 32), np.uint8)
    units = np.packbits(np.eye(256, dtype=np.uint8), axis=1)
    mask = SECRET.keyed(zero)
    moved = np.unpackbits(SECRET.keyed(units) ^ mask, axis=1)
    assert (moved.sum(axis=0) == 1).all()
    assert (moved.sum(axis=1) == 1).all()
    assert 90 < np.unpackbits(mask).sum() < 166
    assert np.trace(moved) < 10


def test_the_keys_are_the_same_for_ever() -> None:
    """What was sealed must open with every later version."""
    sample = np.arange(32, dtype=np.uint8).reshape(1, 32)
    assert SECRET.keyed(sample).tobytes().hex() == KEYED
    assert SECRET.digest("photo", b"x").hex() == DIGEST
    assert SECRET.check == CHECK
    assert SECRET.open("name", bytes.fromhex(BODY)) == b"plain"


def test_another_secret_keys_names_and_opens_otherwise() -> None:
    other = Secret(bytes(32))
    sample = np.arange(64, dtype=np.uint8).reshape(2, 32)
    assert (other.keyed(sample) != SECRET.keyed(sample)).any()
    assert other.digest("photo", b"x") != SECRET.digest("photo", b"x")
    assert SECRET.digest("case", b"x") != SECRET.digest("photo", b"x")
    assert other.check != SECRET.check
    with pytest.raises(SealBroken):
        other.open("name", SECRET.seal("name", b"plain"))


@given(st.binary(max_size=100), st.data())
def test_what_was_altered_or_renamed_does_not_open(plain: bytes, data: st.DataObject) -> None:
    body = SECRET.seal("a", plain)
    assert SECRET.open("a", body) == plain
    with pytest.raises(SealBroken):
        SECRET.open("b", body)
    place = data.draw(st.integers(0, len(body) - 1))
    wrong = bytearray(body)
    wrong[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SealBroken):
        SECRET.open("a", bytes(wrong))
    with pytest.raises(SealBroken):
        SECRET.open("a", body[:place])


def test_a_body_is_sealed_afresh_each_time() -> None:
    assert SECRET.seal("a", b"same") != SECRET.seal("a", b"same")


def _sealed(store: Store, keyring: Keyring) -> None:
    """Seal something for an entry, as protecting a photo does."""
    banks = Banks(store)
    banks.create("x", "reported")
    with store.write() as connection:
        secret = keyring.make(connection)
        (entry,) = connection.execute(
            insert(entries)
            .values(bank_id=1, signal="local", value=b"v", created_at=now(), state="live", seq=1)
            .returning(entries.c.id)
        ).one()
        connection.execute(insert(sealed).values(entry_id=entry, body=secret.seal("v", b"p")))


def test_it_is_made_once_for_its_user_alone(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    keyring = Keyring(store, path)
    with store.write() as connection:
        made = keyring.make(connection)
    assert len(path.read_text().strip()) == 64
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with store.write() as connection:
        again = Keyring(store, path).make(connection)
    assert (path.read_bytes(), again.check) == (before, made.check)
    assert list(tmp_path.glob(".secret-*")) == []


def test_many_that_need_it_at_once_make_one(store: Store, tmp_path: Path) -> None:
    checks: list[int] = []

    def need() -> None:
        keyring = Keyring(store, tmp_path / "secret.key")
        with store.write() as connection:
            store.next_seq(connection)
            checks.append(keyring.make(connection).check)

    threads = [threading.Thread(target=need) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(checks) == 6
    assert len(set(checks)) == 1


def test_a_lost_secret_is_an_error_that_names_the_cure(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    _sealed(store, Keyring(store, path))
    kept = path.read_bytes()
    path.unlink()
    for fail in (Keyring(store, path).get, lambda: _make(store, path)):
        with pytest.raises(ConfigurationError, match=r"secret\.key is not there: restore it"):
            fail()
    assert not path.exists()
    path.write_text("0" * 64)
    for fail in (Keyring(store, path).get, lambda: _make(store, path)):
        with pytest.raises(ConfigurationError, match="is not the secret"):
            fail()
    path.write_text("not a secret")
    with pytest.raises(ConfigurationError, match="64 hexadecimal digits"):
        Keyring(store, path).get()
    path.write_bytes(kept)
    assert Keyring(store, path).get().check == _make(store, path).check


def _make(store: Store, path: Path) -> Secret:
    with store.write() as connection:
        return Keyring(store, path).make(connection)


def test_once_nothing_is_sealed_another_secret_will_do(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "secret.key"
    keyring = Keyring(store, path)
    _sealed(store, keyring)
    old = keyring.get()
    path.unlink()
    Banks(store).delete("x")
    new = _make(store, path)
    assert new.check != old.check
    # A process that had the old one notices.
    assert keyring.get().check == new.check


def test_a_folder_that_can_not_hold_it_is_an_error(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="secret_file"):
        _make(store, tmp_path / "absent" / "secret.key")


def test_a_second_machine_needs_the_same_file(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    store = Store(new_database())
    _sealed(store, Keyring(store, tmp_path / "one.key"))
    with pytest.raises(ConfigurationError, match="copy it from the machine"):
        Keyring(store, tmp_path / "two.key").get()
    (tmp_path / "two.key").write_bytes((tmp_path / "one.key").read_bytes())
    assert Keyring(store, tmp_path / "two.key").get()
    store.close()
