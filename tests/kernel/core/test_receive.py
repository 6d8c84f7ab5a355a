"""raw:2 with plain senders: scatter receive, its predictions, and the arrays of a batch."""

from collections.abc import Callable

import numpy as np
import pytest

from nlbus import ArenaFull, Batch, SchemaError, Subscriber
from tests.support import reference
from tests.support.sockets import Sender, drain, payload, payloads, plain

Subscribe = Callable[..., Subscriber]
SPILL = 256 << 10


@pytest.fixture
def raw(subscribe: Subscribe) -> Subscriber:
    return subscribe("raw:2", groups=(1, 5, 32))


def test_uniform_chains_of_many_datagrams_are_one_strided_view_without_a_copy(raw: Subscriber) -> None:
    wanted = [[payload(64, 100 * d + i) for i in range(16)] for d in range(60)]
    with Sender() as sender:
        for _ in range(9):  # the prediction learns the size
            sender.send(plain(*wanted[0]))
            drain(raw)
        for chain in wanted:
            sender.send(plain(*chain))
    [batch] = drain(raw)
    records = batch.records("V64")
    assert len(batch) == 960
    assert records.tobytes() == b"".join(one for chain in wanted for one in chain)
    assert np.shares_memory(records, batch.data)
    assert records.strides == (80,)
    assert batch.misfits == 0
    assert not records.flags.writeable


def test_single_uniform_messages_are_one_strided_view_too(raw: Subscriber) -> None:
    wanted = [payload(512, i) for i in range(100)]
    with Sender() as sender:
        for _ in range(9):
            sender.send(plain(wanted[0]))
            drain(raw)
        for one in wanted:
            sender.send(plain(one))
    [batch] = drain(raw)
    records = batch.records([("a", "<u8"), ("rest", "V504")])
    assert [r.tobytes() for r in records] == wanted
    assert np.shares_memory(records, batch.data)


def test_payloads_of_several_lengths_are_copied_and_misfits_counted(raw: Subscriber) -> None:
    chains = [[payload(n, i) for n in (8, 20, 8, 0, 33, 8)] for i in range(40)]
    with Sender() as sender:
        for chain in chains:
            sender.send(plain(*chain))
    [batch] = drain(raw)
    fitting = b"".join(p for chain in chains for p in chain if len(p) == 8)
    records = batch.records("<u8")
    assert records.tobytes() == fitting
    assert not np.shares_memory(records, batch.data)
    assert not records.flags.writeable
    assert batch.misfits == 40 * 3
    assert payloads([batch]) == [p for chain in chains for p in chain]
    assert batch.records("V33").tobytes() == b"".join(c[4] for c in chains)
    assert batch.misfits == 40 * 5


def test_without_a_matching_message_there_are_no_records_and_all_are_misfits(raw: Subscriber) -> None:
    with Sender() as sender:
        sender.send(plain(b"12345678", b"12345678"))
    [batch] = drain(raw)
    assert batch.records("<u4").shape == (0,)
    assert batch.misfits == 2


def test_records_can_be_limited_to_one_type_or_group(raw: Subscriber) -> None:
    with Sender() as sender:
        for group in (1, 5, 32):
            for kind in (0x20, 0x21, 3):
                sender.send(plain(bytes([group, kind]), b"x", type=kind), group)
    [batch] = drain(raw)
    assert batch.records("V2", type=0x21).tolist() == [b"\1\x21", b"\5\x21", b"\x20\x21"]
    assert batch.misfits == 3
    assert batch.records("V2", groups=(5, 32), type=3).tolist() == [b"\5\3", b"\x20\3"]
    assert batch.misfits == 2
    assert batch.records("V2", groups=[5]).tolist() == [b"\5\x20", b"\5\x21", b"\5\3"]
    assert len(batch.records("V2", groups=7)) == 0
    assert batch.misfits == 0


def test_messages_have_offset_type_sender_and_group(raw: Subscriber) -> None:
    with Sender() as sender:
        sender.send(
            reference.kernel_chain(
                reference.message(0x20, b"abc", flags=7, seq=9, portid=12345),
                reference.message(0x30, b"", seq=10, portid=0),
            ),
            32,
        )
        [batch] = drain(raw)
        rows = batch.messages
        assert rows["type"].tolist() == [0x20, 0x30]
        assert rows["flags"].tolist() == [7, 0]
        assert rows["seq"].tolist() == [9, 10]
        assert rows["length"].tolist() == [3, 0]
        assert rows["group"].tolist() == [32, 32]
        assert rows["nsid"].tolist() == [-1, -1]
        # From the kernel's metadata, whatever nlmsg_pid claims.
        assert rows["portid"].tolist() == [sender.portid] * 2
    at = rows["offset"][0]
    assert batch.data[at : at + 3].tobytes() == b"abc"


def test_datagrams_that_grow_and_shrink_arrive_whole(raw: Subscriber) -> None:
    sizes = [16, 4000, 4096, 4097, 9000, 60, 30000, 31000, 1, 1, 32000, 0, 100, 17, 5000] * 3
    sizes += list(range(0, 5000, 313)) + list(range(5000, 0, -177))
    wanted = [payload(n, i) for i, n in enumerate(sizes)]
    got = []
    with Sender() as sender:
        for start in range(0, len(wanted), 7):
            for one in wanted[start : start + 7]:
                sender.send(plain(one))
            got += payloads(drain(raw))
    assert got == wanted
    stats = raw.stats()
    assert stats["truncated"] == stats["malformed"] == stats["dropped"] == 0
    assert stats["copied_batches"] > 0


def test_one_long_datagram_among_short_ones_arrives_whole(raw: Subscriber) -> None:
    wanted = [payload(50_000 if i == 57 else 200, i) for i in range(120)]
    with Sender() as sender:
        for one in wanted:
            sender.send(plain(one))
    assert payloads(drain(raw)) == wanted
    assert raw.stats()["truncated"] == 0


def test_a_prediction_miss_is_copied_and_the_next_batch_is_not(raw: Subscriber) -> None:
    wanted = [payload(8192, i) for i in range(20)]
    views = []
    with Sender() as sender:
        for _ in range(2):
            for one in wanted:
                sender.send(plain(one))
            [batch] = drain(raw)
            assert payloads([batch]) == wanted
            views.append(np.shares_memory(batch.records("V8192"), batch.data))
    assert raw.stats()["copied_batches"] == 1
    assert views[1]


def test_nothing_is_truncated_below_the_spill(raw: Subscriber) -> None:
    sizes = [200_000, 10, 190_000, 212_000, 200, SPILL - 4096, 64]
    wanted = [payload(n) for n in sizes]
    with Sender() as sender:
        sender.room(SPILL)
        for one in wanted:
            sender.send(plain(one))
            assert payloads(drain(raw)) == [one]
        for one in wanted:
            sender.send(plain(one))
        assert payloads(drain(raw)) == wanted
    assert raw.stats()["truncated"] == 0


def test_a_datagram_beyond_the_spill_is_truncated_and_counted_and_the_reader_continues(
    raw: Subscriber,
) -> None:
    with Sender() as sender:
        sender.room(2 * SPILL)
        sender.send(plain(b"small", payload(SPILL + 8192), b"never seen"))
        sender.send(plain(b"next"))
    batches = drain(raw)
    assert payloads(batches) == [b"small", b"next"]
    assert sum(batch.loss.datagrams for batch in batches) == 1
    stats = raw.stats()
    assert stats["truncated"] == 1
    assert stats["malformed"] == 1


@pytest.mark.parametrize("beyond", range(-2, 3))
def test_the_slot_and_its_spill_hold_their_sum_and_no_byte_more(beyond: int, subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=(1,))
    whole = plain(payload(2048 + SPILL + beyond - 16))  # first receive: FIRST_GUESS and SPILL
    with Sender() as sender:
        sender.room(2 * SPILL)
        sender.send(whole)
    [batch] = drain(raw)
    assert batch.loss.datagrams == (beyond > 0)
    assert len(batch) == (beyond <= 0)
    assert payloads([batch]) == ([whole[16 : 2048 + SPILL + beyond]] if beyond <= 0 else [])


def test_a_small_batch_is_copied_rather_than_pinning_an_arena(raw: Subscriber) -> None:
    with Sender() as sender:
        sender.send(plain(b"some", b"four"))
    [batch] = drain(raw)
    assert batch.records("V4").tolist() == [b"some", b"four"]
    assert raw.stats()["memory"] < 1024


def test_arrays_of_a_batch_cannot_be_written(raw: Subscriber) -> None:
    with Sender() as sender:
        for i in range(50):
            sender.send(plain(*[payload(64, i)] * 16))
    [batch] = drain(raw)
    chosen = batch.select([1])
    for array in (
        batch.data, batch.messages, batch.records("V64"), batch.records("V64", type=0x20),
        chosen.messages, batch.copy().messages, batch.copy().data, chosen.copy().data,
    ):  # fmt: skip
        assert len(array)
        assert not array.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


def test_payload_takes_negative_indices_and_checks_bounds(raw: Subscriber) -> None:
    with Sender() as sender:
        sender.send(plain(b"a", b"", b"ccc"))
    [batch] = drain(raw)
    assert [batch.payload(i) for i in (0, 1, 2, -1, -2, -3)] == [b"a", b"", b"ccc", b"ccc", b"", b"a"]
    for i in (3, -4):
        with pytest.raises(IndexError):
            batch.payload(i)


def test_select_and_copy_work_on_plain_messages(raw: Subscriber) -> None:
    with Sender() as sender:
        for i in range(30):
            sender.send(plain(*[payload(10 * i, j) for j in range(3)]), (1, 5, 32)[i % 3])
    [batch] = drain(raw)
    everything = payloads([batch])
    groups = batch.messages["group"]
    for chosen in ([5], (1, 32), 32, [7]):
        wanted = np.isin(groups, chosen)
        for part in (batch.select(chosen), batch.select(wanted), batch.select(wanted).copy()):
            assert payloads([part]) == [p for p, w in zip(everything, wanted, strict=True) if w]
            assert part.messages["group"].tolist() == groups[wanted].tolist()
            assert len(part) == len(part.messages) == wanted.sum()
    with pytest.raises(SchemaError):
        batch.select(np.ones(3, bool))


def test_a_copy_is_no_larger_than_needed_and_outlives_the_rest(raw: Subscriber) -> None:
    with Sender() as sender:
        for i in range(60):
            sender.send(plain(*[payload(64, i)] * 16))
    [batch] = drain(raw)
    assert raw.stats()["memory"] > 100_000
    kept = batch.select(np.arange(len(batch)) == 33).copy()
    wanted = batch.payload(33)
    del batch
    assert raw.stats()["memory"] == 0
    assert kept.payload(0) == wanted
    assert kept.data.nbytes < 200
    assert kept.records("V64").tobytes() == wanted


def test_an_empty_batch_has_empty_arrays(raw: Subscriber) -> None:
    batch = raw.recv(timeout=0)
    assert len(batch) == len(batch.messages) == len(batch.data) == len(batch.events) == 0
    assert batch.records("<u8").shape == (0,)
    assert not batch.loss
    assert len(batch.copy()) == len(batch.select([1])) == 0


def test_from_datagrams_gives_the_same_as_a_live_subscriber(raw: Subscriber) -> None:
    datagrams = [
        plain(*(payload(n, i) for i in range(5)))[: -1 if n % 3 == 0 else None] for n in range(1, 200, 7)
    ]
    with Sender() as sender:
        for one in datagrams:
            sender.send(one, 5)
        [live] = drain(raw)
        made = Batch.from_datagrams("raw:2", datagrams, group=5)
        assert payloads([made]) == payloads([live])
        for name in ("length", "type", "flags", "seq", "group", "nsid"):
            assert made.messages[name].tolist() == live.messages[name].tolist(), name
    assert made.counts["malformed"] == raw.stats()["malformed"] > 0


@pytest.mark.parametrize("dtype", ["O", [("a", "O")], "V0", "S0"])
def test_records_of_objects_or_of_nothing_are_refused(raw: Subscriber, dtype: object) -> None:
    with pytest.raises(SchemaError):
        raw.recv(0).records(dtype)  # type: ignore[arg-type]


def test_too_many_kept_batches_raise_arenafull_and_nothing_received_is_lost(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=1, max_memory=1 << 20)
    wanted = [payload(8000, i) for i in range(300)]
    with Sender() as sender:
        for one in wanted:
            sender.send(plain(one))
    held: list[Batch] = []
    with pytest.raises(ArenaFull, match="max_memory"):
        held.extend(raw.batches(timeout=0))
    assert raw.stats()["memory"] >= 1 << 20
    got = payloads(held)
    assert 0 < len(got) < 300
    del held[:]
    got += payloads_one_by_one(raw)
    assert got == wanted


def payloads_one_by_one(subscriber: Subscriber) -> list[bytes]:
    """The payloads; batches are released as they come."""
    got: list[bytes] = []
    while batch := subscriber.recv(timeout=0):
        got += payloads([batch])
    return got


def test_an_unread_subscriber_holds_its_buffer_and_no_more(subscribe: Subscribe) -> None:
    raw = subscribe("raw:2", groups=1, buffer_events=100)
    with Sender() as sender:
        for _ in range(1000):
            sender.send(plain(bytes(64)))
    stats = raw.stats()
    assert stats["memory"] == 0
    assert stats["buffer_used"] <= stats["buffer_size"]
    got = drain(raw)
    assert sum(map(len, got)) + sum(b.loss.datagrams for b in got) == 1000


def test_a_unicast_reaches_a_raw_subscriber(raw: Subscriber) -> None:
    with Sender() as sender:
        sender.unicast(plain(b"to you"), raw._receiver.portid)
    [batch] = drain(raw)
    assert batch.payload(0) == b"to you"
    assert batch.messages["group"].tolist() == [0]
