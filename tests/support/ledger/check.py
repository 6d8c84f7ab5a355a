"""Checks one subscriber's counts against the truth of a round.

This module does not use nlbus. Publishers log what they send in memory that survives them, and every event's
payload identifies it. Times are CLOCK_MONOTONIC in ns; the times before and after each call show what was
*surely* sent while a subscriber was *surely* a member.
"""

from __future__ import annotations

import math
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from tests.support.ledger.truth import NEVER, Call, Event, Gap, Heard, Sent

# A heartbeat comes when a stream was silent for 100 ms, or is closed. Publishers read a coarse clock when
# they send, and it lags where a hypervisor takes away the core that keeps it: so the truth has it, too.
IDLE = 100_000_000


class Checker:
    """Compares one subscriber with the truth; `violations` lists the faults in words."""

    def __init__(self, sent: Iterable[Sent], heard: Heard) -> None:
        self.heard = heard
        self.sent = list(sent)
        self.violations: list[str] = []
        self.required = 0  # dropped datagrams that must be open
        self.counted = 0  # whether all copies can be counted
        self.times = list(heard.membership())
        # As far as the wall clock was stepped, times of losses say nothing.
        offsets = [call.wall[0] - call.began for stream in self.sent for call in stream.calls]
        self.stepped = max(offsets, default=0) - min(offsets, default=0)

    def wrong(self, what: str) -> None:
        self.violations.append(f"{self.heard.name}: {what}")

    def surely(self, begin: int, end: int) -> int:
        """The groups that it surely belonged to for the whole interval."""
        mask = 0xFFFFFFFF
        for at, to, sure, _ in self.times:
            if at <= end and to >= begin:
                mask &= sure
        return mask

    def possibly(self, begin: int, end: int) -> int:
        """The groups that it may have belonged to at some time in the interval."""
        mask = 0
        for at, to, _, possible in self.times:
            if at <= end and to >= begin:
                mask |= possible
        return mask

    def check(self) -> list[str]:
        heard = self.heard
        by_stream: dict[tuple[int, int, int], list[Event]] = defaultdict(list)
        for event in heard.events:
            by_stream[event.publisher, event.incarnation, event.mask].append(event)
        gaps: dict[int, list[Gap]] = defaultdict(list)
        for gap in heard.gaps:
            gaps[gap.instance].append(gap)
        rows = {row["instance"]: row for row in heard.stats["streams"]}
        known = {stream.instance for stream in self.sent} | {event.instance for event in heard.events}
        for stream in self.sent:
            events = by_stream.pop((stream.publisher, stream.incarnation, stream.mask), [])
            instance = self.identify(stream, events)
            if instance < 0:
                # Killed before it logged the instance, and only a heartbeat was received.
                address = (stream.portid, stream.mask)
                candidates = (i for i, row in rows.items() if (row["portid"], row["groups"]) == address)
                instance = next((i for i in candidates if i not in known), -1)
            self.check_stream(stream, events, gaps.pop(instance, []), rows.pop(instance, None))
        for key in by_stream:
            self.wrong(f"events of a stream that nobody published: {key}")
        for instance in [*gaps, *rows]:
            self.wrong(f"a stream that nobody published: {instance:#x}")
        self.check_totals()
        return self.violations

    def identify(self, stream: Sent, events: list[Event]) -> int:
        instances = {event.instance for event in events}
        if stream.instance is not None:
            instances.add(stream.instance)
        if len(instances) > 1:
            self.wrong(f"{stream.name}: several instances {instances}")
        if any(event.portid != stream.portid for event in events):
            self.wrong(f"{stream.name}: under a wrong portid")
        return min(instances, default=-1)

    # -- one stream -------------------------------------------------------------------------------

    def check_stream(
        self, stream: Sent, events: list[Event], gaps: list[Gap], row: dict[str, Any] | None
    ) -> None:
        serials = [event.serial for event in events]
        for one, other in pairwise(serials):
            if other <= one:
                what = "twice" if other in serials[: serials.index(one) + 1] else "out of order"
                self.wrong(f"{stream.name}: event {other} {what} (after {one})")
                return
        for event in events:
            if event.seq != event.serial:
                self.wrong(f"{stream.name}: event {event.serial} came as {event.seq}")
                return
        if serials and serials[-1] >= stream.events:
            self.wrong(f"{stream.name}: event {serials[-1]} was never published")
            return
        got = set(serials)
        for call in stream.calls:
            if not self.possibly(call.began, call.sent) & stream.mask:
                delivered = sum(s in got for s in range(call.first, call.first + call.count))
                if delivered:
                    self.wrong(f"{stream.name}: {delivered} events from {call.first} came without membership")
        if self.heard.changes:
            self.check_with_changes(stream, events, gaps, row)
        else:
            self.check_exactly(stream, events, gaps, row)

    def check_exactly(
        self, stream: Sent, events: list[Event], gaps: list[Gap], row: dict[str, Any] | None
    ) -> None:
        """Membership never changed: account for every event, one by one."""
        if row is None:
            if events or gaps:
                self.wrong(f"{stream.name}: {len(events)} events delivered, and no such stream in stats")
            self.count_open(stream, 0, 0)
            return
        lost = sum(gap.count for gap in gaps)
        if (row["delivered"], row["lost"]) != (len(events), lost):
            self.wrong(
                f"{stream.name}: stats say {row['delivered']} delivered and {row['lost']} lost, "
                f"the batches {len(events)} and {lost}"
            )
        known = row["next_seq"]
        base = known - len(events) - lost
        first = events[0].serial if events else base
        last = events[-1].serial + 1 if events else base
        if not 0 <= base <= first <= last <= known <= stream.events:
            self.wrong(
                f"{stream.name}: {len(events)} delivered + {lost} lost do not fit: baseline {base}, "
                f"delivered {first} to {last}, known to {known}, of {stream.events} sent"
            )
            return
        # After the last event only a heartbeat reports the position: the stream was idle or closed.
        for point in ({base} if not events or base != first else set()) | {known} - {last}:
            if not self.may_have_rested(stream, point):
                self.wrong(f"{stream.name}: no datagram can have reported that it had reached {point}")
        self.check_gaps(stream, events, gaps, base, known)
        self.count_open(stream, base, known)

    def may_have_rested(self, stream: Sent, point: int) -> bool:
        """Whether the stream may have sent a heartbeat after reaching this event."""
        if point == 0:
            return False
        before = next(call for call in stream.calls if call.first <= point - 1 < call.first + call.count)
        if point < before.first + before.count:
            return False
        after = next((call for call in stream.calls if call.first == point), None)
        if after is None:
            return True
        return after.sent - (before.began if before.coarse is None else before.coarse) >= IDLE

    def check_gaps(self, stream: Sent, events: list[Event], gaps: list[Gap], base: int, known: int) -> None:
        """Loss rows match the missing events in order, one row per run."""
        holes: list[tuple[int, int, int, int]] = []  # from, to, batch before, batch behind
        at, batch = base, -1
        for event in events:
            if event.serial != at:
                holes.append((at, event.serial, batch, event.batch))
            at, batch = event.serial + 1, event.batch
        if at != known:
            holes.append((at, known, batch, NEVER))
        rows = iter(gaps)
        for start, end, after, before in holes:
            begin = start
            while begin < end:
                gap = next(rows, None)
                if gap is None or gap.count > end - begin or not after <= gap.batch <= before:
                    self.wrong(f"{stream.name}: no loss row fits the events {begin} to {end}, but {gap}")
                    return
                self.check_time(stream, gap, begin, begin + gap.count)
                begin += gap.count

    def check_time(self, stream: Sent, gap: Gap, begin: int, end: int) -> None:
        """A loss's interval contains the publishing time of each of its events."""
        if gap.earliest > gap.latest:
            self.wrong(f"{stream.name}: a loss from {gap.earliest} to {gap.latest}")
        for call in stream.calls:
            concerned = call.first < end and call.first + call.count > begin
            early, late = call.wall[0] - self.stepped, call.wall[1] + self.stepped
            if concerned and (gap.earliest > late or gap.latest < early):
                self.wrong(
                    f"{stream.name}: events {begin} to {end} published at {call.wall}, "
                    f"lost from {gap.earliest} to {gap.latest}"
                )

    def count_open(self, stream: Sent, base: int, known: int) -> None:
        """Count the dropped datagrams that the events outside the known range require."""
        datagrams = 0
        orphans = 0
        copies = 33
        for call in stream.calls:
            if call.sent == NEVER:
                continue
            held = (self.surely(call.began, call.sent) & stream.mask).bit_count()
            if not held:
                continue
            begin, end = call.first, call.first + call.count
            missing = max(0, min(end, base) - begin) + max(0, end - max(begin, known))
            if missing <= 0:
                continue
            copies = min(copies, held)
            if stream.lingers:
                orphans += missing
            else:
                datagrams += -(-missing // call.per) * held
        if orphans:
            datagrams += -(-orphans // max(call.per for call in stream.calls)) * copies
        self.required += datagrams

    def check_with_changes(
        self, stream: Sent, events: list[Event], gaps: list[Gap], row: dict[str, Any] | None
    ) -> None:
        """With joins and leaves: what must be counted is, what must not be is not, and the rest is open."""
        lost = sum(gap.count for gap in gaps)
        delivered = [event.serial for event in events]
        got = set(delivered)
        owner = {
            serial: call for call in stream.calls for serial in range(call.first, call.first + call.count)
        }
        must = may = silent = 0
        weights: list[tuple[float, int]] = []  # possibly open: events per dropped datagram, events
        around: tuple[Call | None, Call | None] | None = None
        met = kept = False
        for call in stream.calls:
            held = self.surely(call.began, call.sent) & stream.mask if call.sent != NEVER else 0
            possible = self.possibly(call.began, call.sent) & stream.mask
            uncounted = 0
            for serial in range(call.first, call.first + call.count):
                if serial in got:
                    continue
                at = bisect(delivered, serial)
                before = owner[delivered[at - 1]] if at else None
                behind = owner[delivered[at]] if at < len(delivered) else None
                if around != (before, behind):
                    around = (before, behind)
                    met, kept = self.met_between(stream, before, behind)
                may += bool(possible or met)
                if kept:
                    must += 1
                elif held:
                    uncounted += 1
            if uncounted:
                silent += uncounted
                weights.append((min(uncounted, call.per) / held.bit_count(), uncounted))
        if not must <= lost <= may:
            self.wrong(f"{stream.name}: {lost} counted as lost, must be from {must} to {may}")
        # Losses counted beyond the minimum come from these; the remaining ones are open.
        silent -= lost - must
        if silent > 0:
            self.required += 1 if stream.lingers else fewest_datagrams(silent, weights)
        if row is not None:
            base = row["next_seq"] - row["delivered"] - row["lost"]
            newest = sum(serial >= base for serial in got)
            if row["delivered"] != newest or row["lost"] > lost or row["next_seq"] > stream.events:
                self.wrong(
                    f"{stream.name}: stats say {row['delivered']} delivered and {row['lost']} lost "
                    f"since {base}, the batches {newest} and {lost} in all"
                )

    def met_between(self, stream: Sent, before: Call | None, behind: Call | None) -> tuple[bool, bool]:
        """Whether the subscriber met the stream throughout two deliveries: possibly, and surely by one group.

        Possibly: a membership change from group to group can miss a datagram that is sent in the other order.
        No buffer dropped it, and yet its stream has a gap.
        """
        if before is None or behind is None:
            return False, False
        begin, end = before.began, behind.sent
        possible = all(
            possible & stream.mask for at, to, _, possible in self.times if at <= end and to >= begin
        )
        return possible, bool(self.surely(begin, end) & stream.mask)

    # -- all streams ------------------------------------------------------------------------------

    def check_totals(self) -> None:
        heard, stats = self.heard, self.heard.stats
        if stats["delivered"] != len(heard.events):
            self.wrong(f"stats say {stats['delivered']} delivered, the batches {len(heard.events)}")
        lost = sum(gap.count for gap in heard.gaps)
        if stats["lost"] != lost:
            self.wrong(f"stats say {stats['lost']} lost, the batches {lost}")
        for name in ("malformed", "foreign", "untrusted", "truncated"):
            if stats[name]:
                self.wrong(f"{stats[name]} {name}")
        if stats["open"] > stats["dropped"]:
            self.wrong(f"{stats['open']} open of {stats['dropped']} dropped")
        if stats["open"] < self.required:
            self.wrong(f"{stats['open']} open, but {self.required} dropped datagrams are unaccounted for")
        if heard.early and not heard.changes and all(stream.closed for stream in self.sent):
            self.check_copies()

    def check_copies(self) -> None:
        """After the end, if nobody was killed, the number and destination of all sent copies is known."""
        self.counted = 1
        heard, stats = self.heard, self.heard.stats
        rows = {row["instance"]: row for row in stats["streams"]}
        copies = least = most = 0
        for stream in self.sent:
            ours = (stream.mask & heard.groups).bit_count()
            datagrams = stream.datagrams or 0
            copies += datagrams * ours
            row = rows.get(stream.instance)
            if not ours or row is None:
                least += datagrams * ours
                most += datagrams * ours
                continue
            unknown = (datagrams - row["next_dgram"]) * ours
            least += unknown
            most += unknown + 2 * (ours - 1)  # copies of the first and the newest datagram
            if row["next_seq"] - row["delivered"] - row["lost"]:
                most += row["next_dgram"] * ours  # the baseline is one of these
        if stats["dropped"] != copies - stats["datagrams"]:
            self.wrong(f"{copies} copies sent, {stats['datagrams']} received, but {stats['dropped']} dropped")
        if not least <= stats["open"] <= most:
            self.wrong(f"{stats['open']} open, must be from {least} to {most}")


def fewest_datagrams(events: int, weights: list[tuple[float, int]]) -> int:
    """The fewest dropped datagrams that can contain this many events."""
    datagrams = 0.0
    for each, most in sorted(weights, reverse=True):
        took = min(events, most)
        datagrams += took / each
        events -= took
    return math.ceil(datagrams - 1e-6)


def check_publishers(sent: Iterable[Sent], counted: dict[tuple[int, int], dict[str, Any]]) -> list[str]:
    """Publishers that closed cleanly counted what they sent."""
    violations = []
    ours: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    for stream in sent:
        ours[stream.publisher, stream.incarnation][stream.mask] = stream.events
    for key, stats in counted.items():
        theirs = {row["groups"]: row["events"] for row in stats["streams"]}
        if theirs != dict(ours[key]):
            violations.append(f"publisher {key} sent {dict(ours[key])}, and counted {theirs}")
        if stats["failed"] or stats["evicted"]:
            violations.append(f"publisher {key}: {stats['failed']} failed, {stats['evicted']} evicted")
    return violations
