"""The receive core: poll, recvmmsg and walk in one stretch without the GIL.

Scatter receive. Each slot of a recvmmsg has a header area, a body of the size that the recent datagrams
had, and spill: address space that is backed only if something is written to it. As long as the prediction
holds, the bodies of all datagrams follow each other without a gap, and are one array. A larger datagram
runs over into the spill: the batch is then copied to where it is in one piece, and the next prediction
is larger. Nothing is truncated but what exceeds body and spill together.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, ENOMEM, errno
from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy

from nlbus._abi.netlink cimport (
    NETLINK_ADD_MEMBERSHIP, NETLINK_DROP_MEMBERSHIP, NETLINK_NO_ENOBUFS, NETLINK_PKTINFO, nl_pktinfo, nlmsghdr,
    sockaddr_nl,
)
from nlbus._abi.socket cimport (
    CLOCK_MONOTONIC, CLOCK_REALTIME, CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, EFD_CLOEXEC, EFD_NONBLOCK,
    EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLLIN, MADV_DONTNEED, MAP_ANONYMOUS, MAP_FAILED, MAP_NORESERVE, MAP_PRIVATE,
    MSG_DONTWAIT, MSG_TRUNC, POLLIN, PROT_READ, PROT_WRITE, SCM_CREDENTIALS, SK_MEMINFO_DROPS,
    SK_MEMINFO_RCVBUF, SK_MEMINFO_RMEM_ALLOC, SK_MEMINFO_VARS, SO_MEMINFO, SO_PASSCRED, SO_RCVBUF,
    SO_RCVBUFFORCE, SOL_NETLINK, SOL_SOCKET, clock_ns, close, cmsghdr, epoll_create1, epoll_ctl, epoll_event,
    eventfd, getsockopt, iovec, madvise, mmap, mmsghdr, munmap, poll, pollfd, read, recvmmsg, ucred, write,
)
from nlbus._core.arena cimport (
    BODIES_SIZE, BUS, DATAGRAM, HEAD, HEADS_SIZE, ROWS_AT, SLOTS, Block, Pool,
)
from nlbus._core.ledger cimport OVERRUN, Ledger
from nlbus._core.netsock cimport bind_netlink, forks, open_netlink, set_option
from nlbus._core.walk cimport datagram, message, segment, walk_any, walk_start
from nlbus._wire.cursor cimport nlmsg_load

from nlbus.errors import ArenaFull, BusyError, ClosedError

cdef enum:
    FIRST_GUESS = 4096
    SMALL = 16 << 10              # a batch of fewer bytes is copied rather than pinning an arena
    MIN_CHARGE = 576              # what a datagram costs the receive buffer beside its bytes, at least


cdef extern from "<strings.h>" nogil:
    int ffs(int mask)


@cython.final
@cython.no_gc
cdef class Receiver:
    """A netlink socket that receives into blocks. One consumer at a time.

    kind is "nlmsg", "datagram" or "bus". groups are joined at once (numbers; above 32 too). Processes are
    believed on the groups of the mask user_groups, if their uid is one of trust_uids (None: anyone's);
    the kernel, if trust_kernel. OSError if the kernel refuses.
    """

    def __cinit__(self, int protocol, str kind, groups, *, size_t max_memory, size_t buffer_bytes,
                  bint trust_kernel, uint32_t user_groups, trust_uids):
        cdef uint32_t mask = 0
        self.fd = self.wake = self.epoll = -1
        self.kind = {"nlmsg": 0, "datagram": DATAGRAM, "bus": BUS}[kind]
        for group in groups:
            if group <= 32:
                mask |= <uint32_t> 1 << (<int> group - 1)
        self.trust_kernel = trust_kernel
        self.user_groups = user_groups
        self.trust_all = trust_uids is None
        for uid in trust_uids or ():
            if self.trusted == TRUSTED:
                raise ValueError(f"trust: at most {TRUSTED} uids")
            self.uids[self.trusted] = uid
            self.trusted += 1
        self.pool = Pool(max_memory)
        self.ledger = Ledger(mask)
        self.opened_after = forks()
        self.predicted = FIRST_GUESS
        self.allocate()
        self.soiled = SLOTS
        self.fd = open_netlink(protocol)
        set_option(self.fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        if user_groups:
            set_option(self.fd, SOL_SOCKET, SO_PASSCRED, 1)
        # The kernel doubles what it is asked for.
        if set_option(self.fd, SOL_SOCKET, SO_RCVBUFFORCE, <int> (buffer_bytes // 2)) < 0:
            set_option(self.fd, SOL_SOCKET, SO_RCVBUF, <int> (buffer_bytes // 2))
        self.portid = bind_netlink(self.fd, 0, mask)
        for group in groups:
            if group > 32:
                self.change(group, True)
        self.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)
        if self.wake < 0:
            raise OSError(errno, "eventfd")
        self.drops_time = clock_ns(CLOCK_REALTIME)

    cdef allocate(self):
        cdef uint32_t i
        cdef void *spill = mmap(NULL, <size_t> SLOTS * SPILL, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        self.spill = NULL if spill == MAP_FAILED else <uint8_t *> spill
        self.slots = <mmsghdr *> calloc(SLOTS, sizeof(mmsghdr))
        self.vectors = <iovec *> calloc(3 * SLOTS, sizeof(iovec))
        self.names = <sockaddr_nl *> calloc(SLOTS, sizeof(sockaddr_nl))
        self.controls = <uint8_t *> calloc(SLOTS, CONTROL)
        self.datagrams = <datagram *> calloc(SLOTS, sizeof(datagram))
        if (self.spill == NULL or self.slots == NULL or self.vectors == NULL or self.names == NULL
                or self.controls == NULL or self.datagrams == NULL):
            raise MemoryError("no memory for a receiver")
        for i in range(SLOTS):
            self.slots[i].msg_hdr.msg_name = &self.names[i]
            self.slots[i].msg_hdr.msg_control = self.controls + i * CONTROL
            # Only the bus has headers of a size known beforehand.
            self.slots[i].msg_hdr.msg_iov = &self.vectors[3 * i + (self.kind != BUS)]
            self.slots[i].msg_hdr.msg_iovlen = 3 if self.kind == BUS else 2
            self.vectors[3 * i].iov_len = HEAD
            self.vectors[3 * i + 2].iov_base = self.spill + <size_t> i * SPILL
            self.vectors[3 * i + 2].iov_len = SPILL

    def __dealloc__(self):
        self.free()
        if self.spill != NULL:
            munmap(self.spill, <size_t> SLOTS * SPILL)
        free(self.slots)
        free(self.vectors)
        free(self.names)
        free(self.controls)
        free(self.datagrams)
        free(self.copied)

    # -- receiving ------------------------------------------------------------------------------------

    def receive(self, timeout):
        """The next block; one without rows when `timeout` seconds (None: for ever) are up or there are only
        losses to tell; None when `paused` or a signal interrupts. ClosedError, BusyError, ArenaFull, OSError."""
        cdef int64_t deadline = -1
        cdef int count
        if timeout is not None:
            deadline = <int64_t> (timeout * 1e9)
            if deadline > 0:
                deadline += clock_ns(CLOCK_MONOTONIC)
        self.enter()
        try:
            if self.paused:
                return None
            if self.pool.pinned >= self.pool.limit:
                raise ArenaFull(
                    f"batches hold {self.pool.pinned} bytes, max_memory is {self.pool.limit}: "
                    "drop views of old batches, copy what you keep, or raise max_memory")
            while True:
                self.prepare()
                with nogil:
                    count = self.fill()
                    if count == -EAGAIN and deadline != 0:
                        count = self.wait(deadline)
                        if count > 0:
                            count = self.fill()
                    if count > 0:
                        count = self.process(count)
                if count > 0 and (self.w.count or self.ledger.row_count):
                    return self.harvest()
                PyErr_CheckSignals()
                if self.closed:
                    raise ClosedError("closed while receiving")
                if count <= 0 and count not in (-EAGAIN, -EINTR, 0):
                    raise MemoryError("no memory for a batch") if count == -ENOMEM else OSError(-count, "recvmmsg")
                if (deadline == 0 or self.ledger.row_count
                        or (deadline > 0 and clock_ns(CLOCK_MONOTONIC) >= deadline)):
                    return self.nothing()
                if count == 0 and self.signalled():
                    return None
        finally:
            self.leave()

    def drain(self):
        """All that is queued now, as a list of blocks, without waiting and whatever max_memory says."""
        cdef int count
        cdef uint32_t info[SK_MEMINFO_VARS]
        cdef uint64_t end
        blocks = []
        self.enter()
        try:
            self.meminfo(info)
            end = self.charged + info[SK_MEMINFO_RMEM_ALLOC]
            while self.charged < end:
                self.prepare()
                with nogil:
                    count = self.fill()
                    if count > 0:
                        count = self.process(count)
                if count <= 0:
                    break
                if self.w.count or self.ledger.row_count:
                    blocks.append(self.harvest())
        finally:
            self.leave()
        return blocks

    cdef prepare(self):
        if self.arena is None:
            self.arena = self.pool.arena()
        self.may_pin = self.pool.room(self.arena.touched)

    cdef int fill(self) noexcept nogil:
        """One recvmmsg; who is not believed is dropped here. Datagrams received, or -errno."""
        cdef uint32_t i, largest = 0, room = min(<uint32_t> SLOTS, (1 << 20) // self.predicted)
        cdef uint32_t head = HEAD if self.kind == BUS else 0
        cdef int count
        cdef datagram *d
        self.arm(room)
        count = recvmmsg(self.fd, self.slots, room, MSG_DONTWAIT, NULL)
        if count <= 0:
            if errno == EAGAIN:
                self.ledger.drained()
            count = -errno
            self.read_drops()
            return count
        self.soiled = count
        self.now = clock_ns(CLOCK_REALTIME)
        self.read_drops()
        for i in range(<uint32_t> count):
            d = &self.datagrams[i]
            d.length = self.slots[i].msg_len
            d.body_len = self.predicted
            d.head = <const uint8_t *> self.vectors[3 * i].iov_base
            d.body = <const uint8_t *> self.vectors[3 * i + 1].iov_base
            d.spill = <const uint8_t *> self.vectors[3 * i + 2].iov_base
            self.charged += d.length + MIN_CHARGE
            self.w.received += d.length
            if self.slots[i].msg_hdr.msg_flags & MSG_TRUNC:
                self.truncated += 1
            if d.length > head + largest:
                largest = d.length - head
        self.w.datagrams += count
        self.predict(largest)
        if <uint32_t> count < room:
            # Nothing was left behind; but what came may be from before the last change of membership.
            self.turned_empty = True
        return count

    cdef void arm(self, uint32_t count) noexcept nogil:
        """Point the slots at the arena; what the kernel wrote in them last time is set back."""
        cdef uint8_t *base = self.arena.base
        cdef uint32_t i
        for i in range(self.soiled):
            self.slots[i].msg_hdr.msg_namelen = sizeof(sockaddr_nl)
            self.slots[i].msg_hdr.msg_controllen = CONTROL
        self.soiled = 0
        if self.armed_base == base and self.armed_size == self.predicted:
            return
        self.armed_base = base
        self.armed_size = self.predicted
        for i in range(count):
            self.vectors[3 * i].iov_base = base + i * HEAD
            self.vectors[3 * i + 1].iov_base = base + HEADS_SIZE + <size_t> i * self.predicted
            self.vectors[3 * i + 1].iov_len = self.predicted

    cdef void predict(self, uint32_t largest) noexcept nogil:
        """The next body size is the largest of the recent ones: a short datagram leaves a gap, a long one
        costs a copy."""
        cdef uint32_t i
        self.window[self.turn % WINDOW] = largest
        self.turn += 1
        self.predicted = 16
        for i in range(WINDOW):
            self.predicted = max(self.predicted, min(self.window[i], <uint32_t> SPILL))

    cdef bint believed(self, uint32_t slot, datagram *d) noexcept nogil:
        """Who sent this, by the kernel's word (never by nlmsg_pid), and whether we believe them."""
        cdef sockaddr_nl *name = &self.names[slot]
        cdef cmsghdr *control = CMSG_FIRSTHDR(&self.slots[slot].msg_hdr)
        cdef nl_pktinfo info
        cdef ucred who
        cdef bint known = False
        cdef int i
        d.portid = name.nl_pid
        d.uid = 0
        d.group = ffs(name.nl_groups)
        d.nsid = -1
        while control != NULL:
            if control.cmsg_level == SOL_SOCKET and control.cmsg_type == SCM_CREDENTIALS:
                memcpy(&who, CMSG_DATA(control), sizeof(who))
                d.uid = who.uid
                known = True
            elif control.cmsg_level == SOL_NETLINK and control.cmsg_type == NETLINK_PKTINFO:
                memcpy(&info, CMSG_DATA(control), sizeof(info))
                d.group = info.group
            control = CMSG_NXTHDR(&self.slots[slot].msg_hdr, control)
        if d.portid == 0:
            return self.trust_kernel
        if d.group == 0:
            # A unicast belongs to no group: only who hears raw messages of processes may want it.
            if self.kind == BUS or self.user_groups != UINT32_MAX:
                return False
        elif d.group > 32 or not (self.user_groups >> (d.group - 1)) & 1:
            return False
        if self.trust_all:
            return True
        if known:
            for i in range(self.trusted):
                if self.uids[i] == d.uid:
                    return True
        return False

    cdef int process(self, uint32_t count) noexcept nogil:
        """Walk what fill received, in place or copied. Datagrams, or -ENOMEM."""
        cdef uint32_t i, kept = 0, head = HEAD if self.kind == BUS else 0
        cdef size_t total = 0
        cdef uint32_t body = self.datagrams[0].body_len
        cdef bint scattered = False, spilled = False
        cdef datagram d
        cdef nlmsghdr first
        for i in range(count):
            d = self.datagrams[i]
            if not self.believed(i, &d):
                self.untrusted += 1
                continue
            spilled |= d.length > head + d.body_len
            if head and d.length < HEAD:
                scattered = True
            elif head:
                first = nlmsg_load(d.head)
                # The second header would lie across the seam.
                scattered |= first.nlmsg_len < HEAD
            total += d.length
            self.datagrams[kept] = d
            kept += 1
        self.misses += spilled
        self.arena.touched = max(self.arena.touched, HEADS_SIZE + <size_t> count * body)
        if spilled or scattered or total <= SMALL or not self.may_pin:
            if not self.compact(kept, total):
                return -ENOMEM
            if spilled:
                # The spill is touched memory that is rarely needed again.
                madvise(self.spill, <size_t> SLOTS * SPILL, MADV_DONTNEED)
        else:
            self.extent = HEADS_SIZE + <size_t> count * body
            self.rows_at = ROWS_AT
            walk_start(&self.w, self.arena.base, self.arena.base + ROWS_AT)
        walk_any(&self.w, self.kind, self.datagrams, kept, self.ledger)
        if self.turned_empty:
            self.turned_empty = False
            self.ledger.drained()
        return <int> count

    cdef bint compact(self, uint32_t count, size_t total) noexcept nogil:
        """Copy the datagrams, each in one piece, to memory of their own, with room for the rows."""
        cdef size_t rows_at = (total + 8 * <size_t> count + 63) & ~(<size_t> 63)
        # Each message of 16 bytes may take a row of 32, each batch of 96 one of 96.
        cdef size_t room = rows_at + 2 * total + <size_t> (count + 1) * sizeof(segment)
        cdef uint8_t *to = <uint8_t *> malloc(room)
        cdef datagram *d
        cdef uint32_t i, part, left
        if to == NULL:
            return False
        self.copied = to
        self.rows_at = self.extent = rows_at
        walk_start(&self.w, to, to + rows_at)
        for i in range(count):
            d = &self.datagrams[i]
            left = d.length
            if self.kind == BUS:
                part = min(left, <uint32_t> HEAD)
                memcpy(to, d.head, part)
                d.head = to
                to += part
                left -= part
            part = min(left, d.body_len)
            memcpy(to, d.body, part)
            d.body = d.head + HEAD if self.kind == BUS else to
            to += part
            left -= part
            memcpy(to, d.spill, left)
            to += left
            # The next datagram at the alignment that its sender saw.
            to += -(to - self.copied) & 7
        return True

    cdef Block harvest(self):
        """The block of the last walk; the arena is given away with it, or kept for the next receive."""
        cdef Block block
        cdef size_t row_size = sizeof(segment) if self.kind == BUS else sizeof(message)
        cdef size_t size
        cdef uint8_t *shrunk
        if self.copied != NULL:
            # Never 0, for then realloc would free it: nothing is left where nobody was believed.
            size = max(self.rows_at + self.w.count * row_size, 64)
            shrunk = <uint8_t *> realloc(self.copied, size)
            if shrunk != NULL:
                self.copied = shrunk
            block = self.pool.copy(self.copied, size)
            self.copied = NULL
        else:
            block = self.arena
            self.arena = None
            block.lease(self.extent + self.w.count * row_size)
        block.kind = self.kind
        block.extent = self.extent
        block.rows_at = self.rows_at
        block.rows = self.w.count
        block.events = self.w.events
        block.time_ns = self.now
        block.first = self.w.first
        block.stride = self.w.stride
        block.length = self.w.length
        block.losses = self.ledger.take_rows()
        block.open = self.open_drops()
        return block

    cdef Block nothing(self):
        """A block without rows."""
        cdef Block block = Block.__new__(Block)
        block.kind = self.kind
        block.pool = self.pool
        block.first = -1
        block.time_ns = clock_ns(CLOCK_REALTIME)
        block.losses = self.ledger.take_rows()
        block.open = self.open_drops()
        return block

    # -- losses ---------------------------------------------------------------------------------------

    cdef void meminfo(self, uint32_t *info) noexcept nogil:
        cdef uint32_t length = SK_MEMINFO_VARS * sizeof(uint32_t)
        getsockopt(self.fd, SOL_SOCKET, SO_MEMINFO, info, &length)

    cdef void read_drops(self) noexcept nogil:
        """Read after receiving, so that the counter is never behind what the datagrams themselves tell."""
        cdef uint32_t info[SK_MEMINFO_VARS]
        cdef uint32_t news
        cdef int64_t now
        self.meminfo(info)
        news = info[SK_MEMINFO_DROPS] - self.drops_seen
        now = clock_ns(CLOCK_REALTIME)
        if news:
            self.drops_seen = info[SK_MEMINFO_DROPS]
            self.dropped += news
            if self.kind != BUS:
                self.ledger.add_row(OVERRUN, 0, news, False, self.drops_time, now)
        self.drops_time = now

    def open_drops(self):
        """Dropped datagrams that no gap explains: on the bus only; elsewhere each drop is a loss at once."""
        if self.kind != BUS or self.dropped <= self.ledger.explained:
            return 0
        return self.dropped - self.ledger.explained

    def buffer(self):
        """(bytes used, bytes granted) of the kernel's receive buffer, both in truesize."""
        cdef uint32_t info[SK_MEMINFO_VARS]
        self.meminfo(info)
        return info[SK_MEMINFO_RMEM_ALLOC], info[SK_MEMINFO_RCVBUF]

    def counters(self):
        """Everything counted so far, by name."""
        return {
            "datagrams": self.w.datagrams, "bytes": self.w.received, "copies": self.w.copies,
            "malformed": self.w.malformed, "foreign": self.w.foreign, "untrusted": self.untrusted,
            "truncated": self.truncated, "dropped": self.dropped, "copied_batches": self.misses,
        }

    # -- membership, waiting, the end -------------------------------------------------------------------

    def change(self, uint32_t group, bint join):
        """Join or leave one group while running. OSError."""
        cdef int value = <int> group
        if join and group > 32:
            set_option(self.fd, SOL_NETLINK, NETLINK_PKTINFO, 1)
        if set_option(self.fd, SOL_NETLINK,
                      NETLINK_ADD_MEMBERSHIP if join else NETLINK_DROP_MEMBERSHIP, value) < 0:
            raise OSError(errno, "setsockopt")

    def fileno(self):
        """An epoll descriptor, readable while a receive would return at once. OSError, ClosedError."""
        cdef epoll_event event
        self.check()
        if self.epoll < 0:
            self.epoll = epoll_create1(EPOLL_CLOEXEC)
            event.events = EPOLLIN
            event.data.fd = 0
            if (self.epoll < 0 or epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.fd, &event) < 0
                    or epoll_ctl(self.epoll, EPOLL_CTL_ADD, self.wake, &event) < 0):
                raise OSError(errno, "epoll")
        return self.epoll

    cdef int wait(self, int64_t deadline) noexcept nogil:
        """1: something to read; 0: time is up or signalled; -errno."""
        cdef pollfd fds[2]
        cdef int64_t left = -1
        cdef int ready
        fds[0].fd = self.fd
        fds[1].fd = self.wake
        fds[0].events = fds[1].events = POLLIN
        fds[0].revents = fds[1].revents = 0
        if deadline > 0:
            # Rounded up, so as not to spin through the last millisecond.
            left = min((max(deadline - clock_ns(CLOCK_MONOTONIC), 0) + 999999) // 1000000, <int64_t> 0x7fffffff)
        ready = poll(fds, 2, <int> left)
        if ready < 0:
            return -errno
        return fds[0].revents != 0

    def signal(self):
        """Wake the consumer, and keep fileno() readable until `unsignal`. From any thread."""
        cdef uint64_t one = 1
        write(self.wake, &one, sizeof(one))

    def unsignal(self):
        """Undo `signal`."""
        cdef uint64_t count
        read(self.wake, &count, sizeof(count))

    cdef bint signalled(self):
        cdef pollfd news
        news.fd = self.wake
        news.events = POLLIN
        return poll(&news, 1, 0) > 0

    def check(self):
        """ClosedError if closed, or if this process is a fork of the one that opened it."""
        if self.opened_after != forks():
            raise ClosedError("opened by the parent process: after a fork, open a subscriber of your own")
        if self.closed:
            raise ClosedError("already closed")

    cdef int enter(self) except -1:
        self.check()
        if self.busy:
            raise BusyError("another thread is receiving: one consumer a subscriber")
        self.busy = True
        return 0

    cdef void leave(self) noexcept:
        self.busy = False
        if self.copied != NULL:
            free(self.copied)
            self.copied = NULL
        if self.closed:
            self.free()

    def close(self):
        """From any thread. A consumer that waits wakes up and gets ClosedError."""
        if not self.closed:
            self.closed = True
            if self.busy:
                self.signal()
            else:
                self.free()

    cdef void free(self) noexcept:
        for fd in (self.fd, self.wake, self.epoll):
            if fd >= 0:
                close(fd)
        self.fd = self.wake = self.epoll = -1
        self.arena = None
        if self.pool is not None:
            self.pool.close()
