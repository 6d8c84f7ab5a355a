"""Walking and parsing as plain functions, for tests and fuzzers only."""

from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from nlbus._abi.netlink cimport nlattr, nlmsghdr
from nlbus._abi.nlbus cimport NLBUS_MSG_BATCH, nlbus_batch
from nlbus._wire.bus cimport (
    BUS_COUNT,
    BUS_FLAGS,
    BUS_GROUPS_,
    BUS_HEADER,
    BUS_MAGIC,
    BUS_OFFSETS,
    BUS_OK,
    BUS_SEQ,
    BUS_SHORT,
    BUS_SIZE,
    BUS_VERSION_,
    bus_body,
    bus_parse,
    bus_put,
    bus_u32,
)
from nlbus._wire.cursor cimport (
    nla_align,
    nla_attr_size,
    nla_data,
    nla_load,
    nla_next,
    nla_ok,
    nla_payload,
    nla_total_size,
    nla_type,
    nlmsg_align,
    nlmsg_data,
    nlmsg_length,
    nlmsg_load,
    nlmsg_next,
    nlmsg_ok,
    nlmsg_payload,
    nlmsg_space,
)


# One list: each name stands once. Headers before Linux 6.3 lack NLM_F_BULK.
cdef extern from *:
    """
    #include <linux/netlink.h>
    #include "nlbus.h"

    #define NAMED(name) { #name, (int64_t) (name) }
    static const struct nlbus_named { const char *name; int64_t value; } nlbus_named[] = {
        NAMED(NETLINK_ROUTE), NAMED(NETLINK_UNUSED), NAMED(NETLINK_USERSOCK), NAMED(NETLINK_FIREWALL),
        NAMED(NETLINK_SOCK_DIAG), NAMED(NETLINK_NFLOG), NAMED(NETLINK_XFRM), NAMED(NETLINK_SELINUX),
        NAMED(NETLINK_ISCSI), NAMED(NETLINK_AUDIT), NAMED(NETLINK_FIB_LOOKUP), NAMED(NETLINK_CONNECTOR),
        NAMED(NETLINK_NETFILTER), NAMED(NETLINK_IP6_FW), NAMED(NETLINK_DNRTMSG),
        NAMED(NETLINK_KOBJECT_UEVENT), NAMED(NETLINK_GENERIC), NAMED(NETLINK_SCSITRANSPORT),
        NAMED(NETLINK_ECRYPTFS), NAMED(NETLINK_RDMA), NAMED(NETLINK_CRYPTO), NAMED(NETLINK_SMC),
        NAMED(NLMSG_NOOP), NAMED(NLMSG_ERROR), NAMED(NLMSG_DONE), NAMED(NLMSG_OVERRUN),
        NAMED(NLMSG_MIN_TYPE),
        NAMED(NLM_F_REQUEST), NAMED(NLM_F_MULTI), NAMED(NLM_F_ACK), NAMED(NLM_F_ECHO),
        NAMED(NLM_F_DUMP_INTR), NAMED(NLM_F_DUMP_FILTERED),
        NAMED(NLM_F_ROOT), NAMED(NLM_F_MATCH), NAMED(NLM_F_ATOMIC), NAMED(NLM_F_DUMP),
        NAMED(NLM_F_REPLACE), NAMED(NLM_F_EXCL), NAMED(NLM_F_CREATE), NAMED(NLM_F_APPEND),
        NAMED(NLM_F_NONREC),
    #ifdef NLM_F_BULK
        NAMED(NLM_F_BULK),
    #endif
        NAMED(NLM_F_CAPPED), NAMED(NLM_F_ACK_TLVS),
        NAMED(NLA_F_NESTED), NAMED(NLA_F_NET_BYTEORDER),
        NAMED(NLBUS_MSG_BATCH), NAMED(NLBUS_MAGIC), NAMED(NLBUS_VERSION), NAMED(NLBUS_F_VAR),
        NAMED(NLBUS_F_TIMES), NAMED(NLBUS_F_KNOWN), NAMED(NLBUS_GROUPS), NAMED(NLBUS_MAX_DATAGRAM),
        NAMED(NLBUS_MAX_COUNT),
    };
    #undef NAMED
    enum { nlbus_named_count = sizeof(nlbus_named) / sizeof(nlbus_named[0]) };
    """
    struct named "nlbus_named":
        const char *name
        int64_t value

    const named constants "nlbus_named"[]
    enum:
        constants_count "nlbus_named_count"


CONSTANTS = {constants[i].name.decode(): constants[i].value for i in range(constants_count)}

FAULTS = {
    "BUS_OK": BUS_OK,
    "BUS_SHORT": BUS_SHORT,
    "BUS_MAGIC": BUS_MAGIC,
    "BUS_VERSION_": BUS_VERSION_,
    "BUS_HEADER": BUS_HEADER,
    "BUS_FLAGS": BUS_FLAGS,
    "BUS_GROUPS_": BUS_GROUPS_,
    "BUS_COUNT": BUS_COUNT,
    "BUS_SEQ": BUS_SEQ,
    "BUS_SIZE": BUS_SIZE,
    "BUS_OFFSETS": BUS_OFFSETS,
}


def sizes(size_t n):
    """Return the result of each length macro for n."""
    return {
        "nlmsg_align": nlmsg_align(n),
        "nlmsg_length": nlmsg_length(n),
        "nlmsg_space": nlmsg_space(n),
        "nla_align": nla_align(n),
        "nla_attr_size": nla_attr_size(n),
        "nla_total_size": nla_total_size(n),
    }


def walk(const uint8_t[::1] data not None):
    """Walk a datagram: (offset, length, type, flags, seq, portid) per message, and how many are malformed."""
    cdef const uint8_t *start = &data[0]
    cdef const uint8_t *at = start
    cdef size_t remaining = data.shape[0]
    cdef nlmsghdr head
    found = []
    while nlmsg_ok(at, remaining):
        head = nlmsg_load(at)
        found.append((at - start, head.nlmsg_len, head.nlmsg_type, head.nlmsg_flags, head.nlmsg_seq,
                      head.nlmsg_pid))
        at = nlmsg_next(at, &remaining)
    return found, int(remaining != 0)


def payload(const uint8_t[::1] data not None, size_t header=0):
    """Return the payload behind the family header of the first message in data; None if it is malformed."""
    cdef const uint8_t *at = &data[0]
    cdef size_t length
    if not nlmsg_ok(at, data.shape[0]):
        return None
    length = nlmsg_payload(at, header)
    return bytes(nlmsg_data(at)[nlmsg_align(header):nlmsg_align(header) + length]) if length else b""


def attributes(const uint8_t[::1] data not None):
    """Walk attributes: (type, flags, payload) per attribute, and the number of malformed ones."""
    cdef const uint8_t *at = &data[0]
    cdef size_t remaining = data.shape[0]
    cdef nlattr head
    found = []
    while nla_ok(at, remaining):
        head = nla_load(at)
        found.append((nla_type(at), head.nla_type - nla_type(at), bytes(nla_data(at)[:nla_payload(at)])))
        at = nla_next(at, &remaining)
    return found, int(remaining != 0)


cdef list numbers(const uint8_t *at, size_t count):
    return [bus_u32(at, i) for i in range(count)] if at != NULL else None


cdef tuple parsed(const nlbus_batch *head, const uint8_t *rest, size_t rest_len):
    cdef nlbus_batch batch
    cdef bus_body body
    cdef int fault = bus_parse(head, rest, rest_len, &body)
    memcpy(&batch, <const uint8_t *> head, sizeof(nlbus_batch))
    if fault != BUS_OK:
        if body.data != NULL or body.data_len or body.offsets != NULL or body.times != NULL:
            raise AssertionError("a refused batch has a body")
        return fault, batch, None, None, None
    return (fault, batch, bytes(body.data[:body.data_len]), numbers(body.offsets, <size_t> batch.count + 1),
            numbers(body.times, batch.count))


def parse_batch(const uint8_t[::1] head not None, const uint8_t[::1] rest not None):
    """Parse a batch whose header and remainder lie apart: (fault, header, data, offsets, times)."""
    if head.shape[0] != sizeof(nlbus_batch):
        raise ValueError(f"a batch header has {sizeof(nlbus_batch)} bytes, not {head.shape[0]}")
    return parsed(<const nlbus_batch *> &head[0], &rest[0], rest.shape[0])


def parse_chain(const uint8_t[::1] data not None):
    """Parse the batches of a datagram, and count malformed messages; other messages are skipped."""
    cdef const uint8_t *at = &data[0]
    cdef const uint8_t *batch
    cdef size_t remaining = data.shape[0]
    cdef size_t length
    cdef nlmsghdr head
    found = []
    while nlmsg_ok(at, remaining):
        head = nlmsg_load(at)
        length = nlmsg_payload(at, 0)
        if head.nlmsg_type == NLBUS_MSG_BATCH:
            if length < sizeof(nlbus_batch):
                found.append((BUS_SHORT, None, None, None, None))
            else:
                batch = nlmsg_data(at)
                found.append(parsed(<const nlbus_batch *> batch, batch + sizeof(nlbus_batch),
                                    length - sizeof(nlbus_batch)))
        at = nlmsg_next(at, &remaining)
    return found, int(remaining != 0)


def put_batch(header, uint32_t body_len):
    """Return the 96 bytes that precede a body, and nlmsg_len; header is a dict of every field."""
    cdef nlbus_batch head = header
    cdef uint8_t[96] prefix
    cdef uint32_t length = bus_put(prefix, &head, body_len)
    return (bytes(prefix[:96]) if length else b""), length
