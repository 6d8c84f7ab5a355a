"""Scatter receive: one recvmmsg into an arena, so that the bodies of all datagrams are one array.

Each slot has a header area, a body of the size that the recent datagrams had, and spill: address space that
is backed only if something is written to it. As long as the prediction holds, the bodies follow each other
without a gap; after a smaller one, the bodies behind it are moved up. A larger datagram runs over into the
spill: the batch is then copied so that each datagram is contiguous, and the next prediction is larger. Only
a datagram that exceeds body and spill together is truncated.

The sender of a datagram is checked here, too, as the kernel reports it; datagrams of senders that are not
believed are left out.
"""

cimport cython
from libc.errno cimport ENOMEM, errno
from libc.stdint cimport UINT32_MAX, uint8_t, uint32_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memmove

from nlbus._abi.bits cimport ffs
from nlbus._abi.netlink cimport NETLINK_LISTEN_ALL_NSID, NETLINK_PKTINFO, nl_pktinfo, sockaddr_nl
from nlbus._abi.socket cimport (
    CMSG_DATA, CMSG_FIRSTHDR, CMSG_NXTHDR, MADV_DONTNEED, MSG_DONTWAIT, MSG_TRUNC, SCM_CREDENTIALS,
    SOL_NETLINK, SOL_SOCKET, cmsghdr, iovec, madvise, mmsghdr, munmap, recvmmsg, reserve, ucred,
)
from nlbus._core.block cimport BODIES_SIZE, BUS, DATAGRAM, HEAD, HEADS_SIZE, SLOTS, block_size
from nlbus._core.receive.strangers cimport (
    BELIEVED, DISTRUSTED, KERNELS_PLACE, strangers_note,
)
from nlbus._core.receive.walk cimport datagram
from nlbus._wire.cursor cimport nlmsg_load

cdef enum:
    FIRST_GUESS = 2048
    # As soon as there are that many bytes, or so few datagrams, one receive is enough: two arenas take turns,
    # and what is read stays in the second-level cache while it is looked at.
    WARM_SIZE = 128 << 10
    FEWEST = 32                   # datagrams that are worth a system call, however large
    # Bytes of bodies in one receive of a dump: rows and columns, too, shall stay in the second-level cache.
    # Half of it would make the dump 3 % faster, but twice as many chunks cost polars ten times that.
    DECODED_SIZE = BODIES_SIZE // 2

MAX_TRUSTED = TRUSTED


@cython.final
cdef class Scatter:
    def __cinit__(self, int kind, *, bint trust_kernel, uint32_t user_groups, trust_uids, bint nsid):
        self.kind = kind
        self.control = CONTROL_NSID if nsid else CONTROL
        self.head = HEAD if kind == BUS else 0
        self.trust_kernel = trust_kernel
        self.user_groups = user_groups
        self.trust_all = trust_uids is None
        for uid in trust_uids or ():
            if self.trusted == TRUSTED:
                raise ValueError(f"trust: at most {TRUSTED} uids")
            self.uids[self.trusted] = uid
            self.trusted += 1
        self.predicted = FIRST_GUESS
        self.most = SLOTS
        self.allocate()

    cdef allocate(self):
        cdef uint32_t i
        self.spill = <uint8_t *> reserve(<size_t> SLOTS * SPILL)
        self.slots = <mmsghdr *> calloc(SLOTS, sizeof(mmsghdr))
        self.vectors = <iovec *> calloc(3 * SLOTS, sizeof(iovec))
        self.names = <sockaddr_nl *> calloc(SLOTS, sizeof(sockaddr_nl))
        self.controls = <uint8_t *> calloc(SLOTS, self.control)
        self.datagrams = <datagram *> calloc(SLOTS, sizeof(datagram))
        if (self.spill == NULL or self.slots == NULL or self.vectors == NULL or self.names == NULL
                or self.controls == NULL or self.datagrams == NULL):
            raise OSError(ENOMEM, "malloc")
        for i in range(SLOTS):
            self.slots[i].msg_hdr.msg_name = &self.names[i]
            self.slots[i].msg_hdr.msg_control = self.controls + i * self.control
            # Only the bus has headers of a fixed size.
            self.slots[i].msg_hdr.msg_iov = &self.vectors[3 * i + (self.head == 0)]
            self.slots[i].msg_hdr.msg_iovlen = 3 if self.head else 2
            self.vectors[3 * i].iov_len = HEAD
            self.vectors[3 * i + 2].iov_base = self.spill + <size_t> i * SPILL
            self.vectors[3 * i + 2].iov_len = SPILL
        self.soiled = SLOTS

    def __dealloc__(self):
        if self.spill != NULL:
            munmap(self.spill, <size_t> SLOTS * SPILL)
        free(self.slots)
        free(self.vectors)
        free(self.names)
        free(self.controls)
        free(self.datagrams)

    cdef int receive(self, int fd, uint8_t *base) noexcept nogil:
        """One recvmmsg into the arena at `base`. Datagrams, believed or not; or -errno."""
        cdef uint32_t enough = max(WARM_SIZE // self.predicted, <uint32_t> FEWEST)
        cdef uint32_t room = min(min(self.most, enough), BODIES_SIZE // self.predicted)
        cdef int count
        self.arm(base, room)
        count = recvmmsg(fd, self.slots, room, MSG_DONTWAIT, NULL)
        if count <= 0:
            return -errno
        self.soiled = count
        self.emptied = <uint32_t> count < room
        self.classify(count)
        return count

    cdef void arm(self, uint8_t *base, uint32_t count) noexcept nogil:
        """Point the slots at the arena, and reset the fields that the kernel wrote last time."""
        cdef uint32_t i
        for i in range(self.soiled):
            self.slots[i].msg_hdr.msg_namelen = sizeof(sockaddr_nl)
            self.slots[i].msg_hdr.msg_controllen = self.control
        self.soiled = 0
        if self.armed_base == base and self.armed_size == self.predicted:
            return
        self.armed_base = base
        self.armed_size = self.predicted
        for i in range(count):
            self.vectors[3 * i].iov_base = base + i * HEAD
            self.vectors[3 * i + 1].iov_base = base + HEADS_SIZE + <size_t> i * self.predicted
            self.vectors[3 * i + 1].iov_len = self.predicted

    cdef void classify(self, uint32_t count) noexcept nogil:
        """Record the datagrams, their senders, and whether they lie as predicted."""
        cdef uint32_t i, reason, largest = 0
        cdef int cut
        cdef const uint8_t *end = NULL
        cdef datagram *d
        self.body = self.predicted
        self.reach = HEADS_SIZE + <size_t> count * self.body
        self.believed = self.cut = 0
        self.total = 0
        self.spilled = self.seam = self.gappy = False
        self.received += count
        for i in range(count):
            d = &self.datagrams[self.believed]
            d.length = self.slots[i].msg_len
            d.body_len = self.body
            d.head = <const uint8_t *> self.vectors[3 * i].iov_base
            d.body = <const uint8_t *> self.vectors[3 * i + 1].iov_base
            d.spill = <const uint8_t *> self.vectors[3 * i + 2].iov_base
            self.bytes += d.length
            if d.length > self.head + largest:
                largest = d.length - self.head
            cut = self.slots[i].msg_hdr.msg_flags & MSG_TRUNC
            self.truncated += cut != 0
            reason = self.identify(i, d)
            if reason != BELIEVED:
                self.untrusted += 1
                strangers_note(&self.senders, d.portid, d.uid, reason)
                continue
            if cut:
                self.cut += 1
                if self.kind == DATAGRAM:
                    continue  # part of a message is not a message
            self.gappy |= end != NULL and d.body != end
            end = d.body + d.length - self.head
            self.spilled |= d.length > self.head + self.body
            if self.head:
                self.seam |= d.length < HEAD or nlmsg_load(d.head).nlmsg_len < HEAD
            self.total += d.length
            self.believed += 1
        self.predict(largest)

    cdef uint32_t identify(self, uint32_t slot, datagram *d) noexcept nogil:
        """Find the sender as the kernel reports it (never nlmsg_pid), and why it is not believed."""
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
            elif control.cmsg_level == SOL_NETLINK and control.cmsg_type == NETLINK_LISTEN_ALL_NSID:
                memcpy(&d.nsid, CMSG_DATA(control), sizeof(d.nsid))
            control = CMSG_NXTHDR(&self.slots[slot].msg_hdr, control)
        if d.portid == 0:
            return BELIEVED if self.trust_kernel else KERNELS_PLACE
        if d.group == 0:
            # A unicast has no group: only subscribers to raw messages of processes may want it.
            if self.kind == BUS or self.user_groups != UINT32_MAX:
                return KERNELS_PLACE
        elif d.group > 32 or not (self.user_groups >> (d.group - 1)) & 1:
            return KERNELS_PLACE
        if self.trust_all:
            return BELIEVED
        if known:
            for i in range(self.trusted):
                if self.uids[i] == d.uid:
                    return BELIEVED
        return DISTRUSTED

    cdef void expect(self, uint32_t size) noexcept nogil:
        """Prepare for datagrams of at most this size, all of which will be decoded to columns."""
        self.window[0] = self.predicted = min(size, <uint32_t> SPILL)
        self.most = max(1, DECODED_SIZE // self.predicted)

    cdef void predict(self, uint32_t largest) noexcept nogil:
        """The next body size is the largest recent one: a short datagram costs moving the bodies behind it,
        a long one costs a copy of the whole batch."""
        cdef uint32_t i
        self.window[self.turn % WINDOW] = largest
        self.turn += 1
        self.predicted = 16
        for i in range(WINDOW):
            self.predicted = max(self.predicted, min(self.window[i], <uint32_t> SPILL))

    cdef size_t close_gaps(self, uint8_t *base) noexcept nogil:
        """Move the bodies up to each other, within the arena: they are warm, and memory that is new would
        cost several times as much. Bytes from the start of the arena to the end of the last one."""
        cdef uint8_t *to = base + HEADS_SIZE
        cdef datagram *d
        cdef uint32_t i
        for i in range(self.believed):
            d = &self.datagrams[i]
            if d.body != to:
                memmove(to, d.body, d.length - self.head)
                d.body = to
            to += d.length - self.head
        return to - base

    cdef uint8_t *copy(self, size_t *rows_at) noexcept nogil:
        """The believed datagrams, each in one piece, in memory from malloc with room for their rows behind.
        NULL: no memory."""
        cdef size_t size = block_size(self.total + 8 * <size_t> self.believed, self.believed, rows_at)
        cdef uint8_t *start = <uint8_t *> malloc(size)
        cdef uint8_t *to = start
        cdef datagram *d
        cdef uint32_t i, part, left
        if start == NULL:
            return NULL
        for i in range(self.believed):
            d = &self.datagrams[i]
            part = min(d.length, self.head)
            memcpy(to, d.head, part)
            d.head = to
            left = d.length - part
            to += part
            part = min(left, d.body_len)
            memcpy(to, d.body, part)
            d.body = d.head + self.head
            left -= part
            to += part
            memcpy(to, d.spill, left)
            to += left
            # The next datagram at the alignment that its sender saw.
            to += -(to - start) & 7
        if self.spilled:
            # Touched memory that is rarely needed again.
            madvise(self.spill, <size_t> SLOTS * SPILL, MADV_DONTNEED)
        return start
