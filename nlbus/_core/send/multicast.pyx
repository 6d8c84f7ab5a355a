"""Sending datagrams to every group of a set, with sendmmsg, or one with sendto: by ourselves, or by nlbus.ko.

The kernel sends to one group a call (the lowest bit of nl_groups), so a datagram for k groups takes k
messages. NETLINK_USERSOCK has no kernel socket: a multicast is followed by a unicast, and one to portid 0
would answer ECONNREFUSED though the multicast was delivered, and stop sendmmsg. So the unicast is addressed
to ourselves, where a filter drops it.

nlbus.ko gets a datagram once, and hands it on to all its groups while we are in sendmmsg: when that returns,
what it refused was answered.
"""

cimport cython
from libc.errno cimport EAGAIN, EINTR, EIO, ENOBUFS, ETIMEDOUT, errno
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from nlbus._abi.bits cimport ctz, popcount
from nlbus._abi.netlink cimport (
    NETLINK_CAP_ACK, NETLINK_EXT_ACK, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR, nlmsghdr, sockaddr_nl,
)
from nlbus._abi.nlbus cimport nlbus_batch
from nlbus._abi.socket cimport (
    AF_NETLINK, CLOCK_MONOTONIC, MSG_DONTWAIT, POLLIN, SOL_NETLINK, clock_ns, close, iovec, poll, pollfd,
    recvfrom, sendmmsg, sendto, sockaddr,
)
from nlbus._core.block cimport HEAD
from nlbus._core.netsock cimport bind_netlink, drop_all, open_netlink, set_option

cdef enum:
    ERROR_LEN = 20                # nlmsghdr and the error
    ANSWER_MS = 1000              # the module answers at once, or never
    LONGEST_NAP = 64              # milliseconds between two attempts

RELIABLE_SECONDS = 5              # for which a full subscriber is waited for

cdef int64_t PATIENCE = RELIABLE_SECONDS * 1000000000  # ns


@cython.final
cdef class Multicast:
    """relayed: through nlbus.ko, whose protocol this is; acked: wait until reliable subscribers have room.
    OSError."""

    def __cinit__(self, int protocol, uint32_t portid, bint relayed=False, bint acked=False):
        cdef int i
        self.fd = -1
        self.relayed = relayed
        self.acked = acked
        self.fd = open_netlink(protocol)
        if relayed:
            set_option(self.fd, SOL_NETLINK, NETLINK_EXT_ACK, 1)
            set_option(self.fd, SOL_NETLINK, NETLINK_CAP_ACK, 1)
        elif drop_all(self.fd) < 0:
            raise OSError(errno, "SO_ATTACH_FILTER")
        self.portid = bind_netlink(self.fd, portid, 0)
        for i in range(32):
            self.addresses[i].nl_family = AF_NETLINK
            self.addresses[i].nl_pid = 0 if relayed else self.portid
            self.addresses[i].nl_groups = 0 if relayed else <uint32_t> 1 << i
        for i in range(VECTOR):
            self.vector[i].msg_hdr.msg_namelen = sizeof(sockaddr_nl)
            self.vector[i].msg_hdr.msg_iovlen = 2

    def __dealloc__(self):
        self.release()

    cdef uint32_t room(self, uint32_t groups) noexcept nogil:
        """How many datagrams for these groups one `send` takes."""
        return VECTOR if self.relayed else max(1, VECTOR // <uint32_t> popcount(groups))

    cdef void put(self, uint32_t i, const uint8_t *head, size_t head_len, const uint8_t *body,
                  size_t body_len, uint64_t events) noexcept nogil:
        """Datagram i of the next `send`."""
        self.parts[i][0].iov_base = <void *> head
        self.parts[i][0].iov_len = head_len
        self.parts[i][1].iov_base = <void *> body
        self.parts[i][1].iov_len = body_len
        self.counts[i] = events

    cdef int send(self, uint32_t groups, uint32_t datagrams, uint32_t *taken,
                  uint32_t *repeats) noexcept nogil:
        """Send the first `datagrams` (at most `room`), each to every group before the next one.

        0 or -errno; `taken` of them were accepted for one group at least. repeats: of the stream.
        """
        cdef uint32_t d, rest, n = 0, each
        cdef int error = 0
        self.answered = 0
        if self.acked:
            return self.submit(datagrams, taken, repeats)
        if self.relayed:
            groups = 1
        if datagrams == 1 and groups & (groups - 1) == 0:
            error = self.push_one(<uint32_t> ctz(groups))
            taken[0] = error > 0
            return self.settled(error, taken)
        for d in range(datagrams):
            rest = groups
            while rest:
                self.vector[n].msg_hdr.msg_name = &self.addresses[ctz(rest)]
                self.vector[n].msg_hdr.msg_iov = self.parts[d]
                rest &= rest - 1
                n += 1
        each = n // datagrams
        taken[0] = datagrams
        d = 0
        while d < n:
            error = self.push(d, n - d)
            if error <= 0:
                taken[0] = (d + each - 1) // each
                break
            d += error
        return self.settled(error, taken)

    cdef int settled(self, int error, uint32_t *taken) noexcept nogil:
        """Subtract the datagrams that the module refused from `taken`; 0 or -errno."""
        cdef uint32_t refused
        if self.relayed:
            refused = self.refusals(&error)
            # Which ones is unknown. They are the last ones if a privilege was given up.
            taken[0] -= min(refused, taken[0])
        return min(error, 0)

    cdef int push_one(self, uint32_t group) noexcept nogil:
        """The first datagram to one group (a bit's number); 1, or -errno.

        sendto asks less of the kernel than sendmmsg: of a single event's cost that is a sixth.
        """
        cdef iovec *part = self.parts[0]
        cdef const void *data = part[0].iov_base
        cdef size_t length = part[0].iov_len + part[1].iov_len
        if part[1].iov_len:
            if length > <size_t> SHORT:
                self.vector[0].msg_hdr.msg_name = &self.addresses[group]
                self.vector[0].msg_hdr.msg_iov = part
                return self.push(0, 1)
            memcpy(self.whole, part[0].iov_base, part[0].iov_len)
            memcpy(self.whole + part[0].iov_len, part[1].iov_base, part[1].iov_len)
            data = self.whole
        while sendto(self.fd, data, length, 0, <sockaddr *> &self.addresses[group], sizeof(sockaddr_nl)) < 0:
            if errno != EINTR:
                return -errno
        return 1

    cdef int push(self, uint32_t first, uint32_t count) noexcept nogil:
        """One sendmmsg; how many it sent, or -errno."""
        cdef int sent = -1
        while sent < 0:
            sent = sendmmsg(self.fd, &self.vector[first], count, 0)
            if sent < 0 and errno != EINTR:
                return -errno
        return sent

    cdef uint32_t refusals(self, int *error) noexcept nogil:
        """Read what the module has answered: how many datagrams it refused, the first with `error`."""
        cdef uint8_t news[ANSWER]
        cdef uint32_t count = 0, request
        cdef int why
        while True:
            why = self.read_answer(news, &request)
            if why == -EAGAIN:
                return count
            if why == -ENOBUFS:
                # Of no concern: somebody was full, the others have got it.
                self.answered = 0
            elif why:
                error[0] = error[0] if error[0] < 0 else why
                count += 1

    cdef int submit(self, uint32_t datagrams, uint32_t *taken, uint32_t *repeats) noexcept nogil:
        """Send one after the other, each until all have taken it who said that they want every one."""
        cdef uint32_t d
        cdef int64_t give_up
        cdef int error, nap
        for d in range(datagrams):
            give_up = 0
            nap = 1
            while True:
                error = self.ask(d, repeats[0])
                if error != -ENOBUFS:
                    break
                if give_up == 0:
                    give_up = clock_ns(CLOCK_MONOTONIC) + PATIENCE
                elif clock_ns(CLOCK_MONOTONIC) >= give_up:
                    break
                poll(NULL, 0, nap)
                nap = min(2 * nap, LONGEST_NAP)
                repeats[0] += 1
            if error:
                # All the others have got it.
                taken[0] = d + (error == -ENOBUFS)
                return error
        taken[0] = datagrams
        return 0

    cdef int ask(self, uint32_t datagram, uint32_t repeats) noexcept nogil:
        """Send one datagram and wait for the answer: 0 or -errno."""
        cdef uint8_t news[ANSWER]
        cdef nlmsghdr *header = <nlmsghdr *> self.parts[datagram][0].iov_base
        cdef size_t left = self.parts[datagram][0].iov_len, step
        cdef uint32_t request = 0
        cdef pollfd answer
        cdef int error
        self.requests += 1
        header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK
        header.nlmsg_seq = self.requests
        while left >= HEAD:
            (<nlbus_batch *> (header + 1)).repeats = repeats
            step = (<size_t> header.nlmsg_len + 7) & ~(<size_t> 7)
            if step >= left:
                break
            header = <nlmsghdr *> (<uint8_t *> header + step)
            left -= step
        self.vector[0].msg_hdr.msg_name = &self.addresses[0]
        self.vector[0].msg_hdr.msg_iov = self.parts[datagram]
        error = self.push(0, 1)
        if error < 0:
            return error
        answer.fd = self.fd
        answer.events = POLLIN
        while True:
            error = self.read_answer(news, &request)
            if error == -EAGAIN:
                if poll(&answer, 1, ANSWER_MS) == 0:
                    return -ETIMEDOUT
            elif request == self.requests:
                return error

    cdef int read_answer(self, uint8_t *to, uint32_t *request) noexcept nogil:
        """The module's answer to a request: 0 or -errno; -EAGAIN if there is nothing to read.

        An overrun of answers counts as a refusal.
        """
        cdef sockaddr_nl who
        cdef uint32_t room
        cdef nlmsghdr header
        cdef int32_t error
        cdef ssize_t length
        while True:
            room = sizeof(who)
            length = recvfrom(self.fd, to, ANSWER, MSG_DONTWAIT, <sockaddr *> &who, &room)
            if length < 0:
                if errno == EINTR:
                    continue
                return -EIO if errno == ENOBUFS else -errno
            memcpy(&header, to, sizeof(header))
            if length < ERROR_LEN or who.nl_pid != 0 or header.nlmsg_type != NLMSG_ERROR:
                continue
            memcpy(&error, to + sizeof(header), sizeof(error))
            request[0] = header.nlmsg_seq
            if error and self.answered == 0:
                memcpy(self.answer, to, length)
                self.answered = length
            return error

    cdef void release(self) noexcept:
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
